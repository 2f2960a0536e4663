// The speed of generation for safety scoring: batched, greedy, with a cache.
//
//   generate-bench --model=FOLDER --prompts=ROWS.jsonl --new_tokens=N [--batch=N]
//   [--out=REPORT.json]
//
// A prompt is {"ids": [..], "mask": [..]}; the mask is ignored. Every prompt gets exactly N tokens.
#include <iostream>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/clock.h"
#include "base/file_system.h"
#include "base/process_memory.h"
#include "base/status_macros.h"
#include "bench/report_file.h"
#include "bench/train/token_rows.h"
#include "worker/model/generator.h"

ABSL_FLAG(std::string, model, "", "Hugging Face folder of the base model");
ABSL_FLAG(std::string, prompts, "", "JSONL of token ids");
ABSL_FLAG(std::string, out, "", "where to write the report; empty: standard output");
ABSL_FLAG(int64_t, new_tokens, 48, "tokens per prompt");
ABSL_FLAG(int64_t, batch, 128, "prompts answered together");
ABSL_FLAG(int, threads, 0, "0: one per core");

namespace wardtune {
namespace {

absl::Status Run() {
  PosixFileSystem files;
  SystemClock clock;
  WT_ASSIGN_OR_RETURN(const DecoderModel model, DecoderModel::Load(absl::GetFlag(FLAGS_model), {}));
  WT_ASSIGN_OR_RETURN(const std::string jsonl, files.ReadFile(absl::GetFlag(FLAGS_prompts)));
  WT_ASSIGN_OR_RETURN(const std::vector<TrainingRow> rows, ParseTokenRows(jsonl));
  std::vector<std::vector<int32_t>> prompts;
  for (const TrainingRow& row : rows) prompts.push_back(row.ids);
  const GenerateOptions options{.max_new_tokens = absl::GetFlag(FLAGS_new_tokens),
                                .max_batch = absl::GetFlag(FLAGS_batch)};
  const std::span<const std::vector<int32_t>> first(prompts.data(), 1);
  WT_RETURN_IF_ERROR(Generate(model, {}, first, options).status());  // warm-up
  const absl::Duration start = clock.Monotonic();
  WT_ASSIGN_OR_RETURN(const auto answers, Generate(model, {}, prompts, options));
  const double seconds = absl::ToDoubleSeconds(clock.Monotonic() - start);
  int64_t tokens = 0;
  for (const auto& answer : answers) tokens += static_cast<int64_t>(answer.size());
  const std::string json = absl::StrFormat(
      "{\"tokens_per_second\": %.3f, \"tokens\": %d, \"seconds\": %.4f, \"peak_rss_bytes\": %d, "
      "\"first\": [%s]}\n",
      static_cast<double>(tokens) / seconds, tokens, seconds, ProcessMemory("VmHWM:"),
      absl::StrJoin(answers[0], ", "));
  return WriteReport(files, absl::GetFlag(FLAGS_out), json);
}

}  // namespace
}  // namespace wardtune

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Measures generation.");
  absl::ParseCommandLine(argc, argv);
  wardtune::ConfigureComputeRuntime({.threads = absl::GetFlag(FLAGS_threads)});
  const absl::Status status = wardtune::Run();
  if (!status.ok()) std::cerr << "generate-bench: " << status.message() << "\n";
  return status.ok() ? 0 : 1;
}
