// The gradients of one training step, for a comparison with other software.
//
//   worker-gradients --model=FOLDER --rows=ROWS.jsonl --start=PEFT_FOLDER --out=FILE.safetensors
//
// Runs one step over all rows (as bench/train/token_rows.h reads them) through the trainer that
// jobs use, in fp32, and writes the gradient of the mean loss of all supervised tokens: one fp32
// tensor per factor, named and shaped as in a PEFT adapter.
#include <iostream>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "base/clock.h"
#include "base/file_system.h"
#include "base/status_macros.h"
#include "bench/train/token_rows.h"
#include "formats/safetensors_reader.h"
#include "formats/safetensors_writer.h"
#include "worker/agent/adapter_export.h"
#include "worker/training/trainer.h"

ABSL_FLAG(std::string, model, "", "Hugging Face folder of the base model");
ABSL_FLAG(std::string, rows, "", "JSONL of rows with ids and mask");
ABSL_FLAG(std::string, start, "", "PEFT folder of the adapter whose gradients are taken");
ABSL_FLAG(std::string, out, "", "the safetensors file to write");

namespace wardtune {
namespace {

// AdamW without momentum: its first moment after a step is that step's gradient.
constexpr double kNoMomentum = 0.0;

absl::StatusOr<std::string> StateAfterOneStep(const DecoderModel& model, LoraAdapter start,
                                              std::vector<TrainingRow> rows) {
  const auto count = static_cast<int64_t>(rows.size());
  TrainerOptions options{.lora = start.spec,
                         .max_steps = 1,
                         .beta1 = kNoMomentum,
                         .max_grad_norm = 0.0,
                         .shuffle = false,
                         .start = std::move(start)};
  std::vector<TrainingStream> streams;
  streams.push_back(
      {.name = "rows", .rows = std::move(rows), .model = model, .rows_per_step = count});
  SystemClock clock;
  WT_ASSIGN_OR_RETURN(const auto trainer, Trainer::Create(options, std::move(streams), &clock));
  WT_RETURN_IF_ERROR(trainer->Step().status());
  return trainer->SaveState();
}

// The state holds the moments of all factors one behind the other, in the adapter's order.
absl::StatusOr<std::string> GradientsByName(const LoraAdapter& adapter, std::string_view state) {
  WT_ASSIGN_OR_RETURN(const SafetensorsCopy content, CopySafetensors(state));
  const auto moments = content.tensors.find("adamw.moment1");
  if (moments == content.tensors.end()) return absl::InternalError("the state has no moments");
  std::span<const std::byte> rest = moments->second.data;
  std::vector<NamedTensor> tensors;
  for (const AdapterTensor& tensor : AdapterTensors(adapter)) {
    const size_t bytes = tensor.values->size() * sizeof(float);
    if (bytes > rest.size()) return absl::InternalError("fewer gradients than factors");
    tensors.push_back(
        {tensor.name, TensorDType::kF32, {tensor.rows, tensor.cols}, rest.first(bytes)});
    rest = rest.subspan(bytes);
  }
  if (!rest.empty()) return absl::InternalError("more gradients than factors");
  return SerializeSafetensors(std::move(tensors));
}

absl::Status Run() {
  PosixFileSystem files;
  WT_ASSIGN_OR_RETURN(
      const DecoderModel model,
      DecoderModel::Load(absl::GetFlag(FLAGS_model), {.compute_type = ComputeType::kFloat32}));
  WT_ASSIGN_OR_RETURN(const std::string jsonl, files.ReadFile(absl::GetFlag(FLAGS_rows)));
  WT_ASSIGN_OR_RETURN(std::vector<TrainingRow> rows, ParseTokenRows(jsonl));
  WT_ASSIGN_OR_RETURN(const LoraAdapter start,
                      LoadPeftFolder(files, absl::GetFlag(FLAGS_start), model.config()));
  WT_ASSIGN_OR_RETURN(const std::string state, StateAfterOneStep(model, start, std::move(rows)));
  WT_ASSIGN_OR_RETURN(const std::string bytes, GradientsByName(start, state));
  return files.WriteFileAtomically(absl::GetFlag(FLAGS_out), bytes);
}

}  // namespace
}  // namespace wardtune

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Writes the gradients of one training step, in fp32.");
  absl::ParseCommandLine(argc, argv);
  wardtune::ConfigureComputeRuntime({});
  const absl::Status status = wardtune::Run();
  if (!status.ok()) std::cerr << "worker-gradients: " << status.message() << "\n";
  return status.ok() ? 0 : 1;
}
