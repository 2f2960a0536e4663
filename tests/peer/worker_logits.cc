// What the worker computes, for a comparison with other software.
//
//   worker-logits --model=FOLDER [--adapter=PEFT_FOLDER] --rows=ROWS.jsonl --out=FILE.safetensors
//
// Encodes each chat row as for training and writes, for row i, the tensors "i.ids" (int32),
// "i.loss_mask" (uint8) and "i.logits" (fp32, [tokens, vocabulary]), all computed in fp32.
#include <iostream>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_cat.h"
#include "base/file_system.h"
#include "base/status_macros.h"
#include "formats/safetensors_writer.h"
#include "worker/agent/adapter_export.h"
#include "worker/agent/row_encoding.h"

ABSL_FLAG(std::string, model, "", "Hugging Face folder of the base model");
ABSL_FLAG(std::string, adapter, "", "PEFT adapter folder; empty: the base alone");
ABSL_FLAG(std::string, rows, "", "JSONL of chat rows");
ABSL_FLAG(std::string, out, "", "the safetensors file to write");

namespace wardtune {
namespace {

constexpr int64_t kMaxRowTokens = 1024;

absl::Status Run() {
  PosixFileSystem files;
  const std::string folder = absl::GetFlag(FLAGS_model);
  WT_ASSIGN_OR_RETURN(const DecoderModel model,
                      DecoderModel::Load(folder, {.compute_type = ComputeType::kFloat32}));
  WT_ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Load(files, folder));
  WT_ASSIGN_OR_RETURN(const std::string jsonl, files.ReadFile(absl::GetFlag(FLAGS_rows)));
  WT_ASSIGN_OR_RETURN(const std::vector<ChatRow> chats, ParseDataset(jsonl));
  WT_ASSIGN_OR_RETURN(const std::vector<TrainingRow> rows,
                      EncodeRows(*tokenizer, chats, kMaxRowTokens));
  LoraAdapter adapter;
  const LoraAdapter* active = &adapter;
  const bool adapted = !absl::GetFlag(FLAGS_adapter).empty();
  if (adapted) {
    WT_ASSIGN_OR_RETURN(adapter,
                        LoadPeftFolder(files, absl::GetFlag(FLAGS_adapter), model.config()));
  }

  std::vector<FloatMatrix> logits(rows.size());
  std::vector<NamedTensor> tensors;
  for (size_t i = 0; i < rows.size(); ++i) {
    WT_ASSIGN_OR_RETURN(logits[i],
                        AllLogits(model, ActiveAdapters(&active, adapted ? 1 : 0), rows[i].ids));
    const auto tokens = static_cast<int64_t>(rows[i].ids.size());
    tensors.push_back({absl::StrCat(i, ".ids"),
                       TensorDType::kI32,
                       {tokens},
                       std::as_bytes(std::span<const int32_t>(rows[i].ids))});
    tensors.push_back({absl::StrCat(i, ".loss_mask"),
                       TensorDType::kU8,
                       {tokens},
                       std::as_bytes(std::span<const uint8_t>(rows[i].loss_mask))});
    tensors.push_back({absl::StrCat(i, ".logits"),
                       TensorDType::kF32,
                       {tokens, logits[i].cols},
                       std::as_bytes(std::span<const float>(logits[i].values))});
  }
  WT_ASSIGN_OR_RETURN(const std::string bytes, SerializeSafetensors(std::move(tensors)));
  return files.WriteFileAtomically(absl::GetFlag(FLAGS_out), bytes);
}

}  // namespace
}  // namespace wardtune

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Writes the worker's logits of chat rows, in fp32.");
  absl::ParseCommandLine(argc, argv);
  wardtune::ConfigureComputeRuntime({});
  const absl::Status status = wardtune::Run();
  if (!status.ok()) std::cerr << "worker-logits: " << status.message() << "\n";
  return status.ok() ? 0 : 1;
}
