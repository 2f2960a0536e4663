#include "bench/evidence_bench.h"

#include <iostream>
#include <utility>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "bench/report_file.h"
#include "worker/agent/row_encoding.h"
#include "worker/agent/training_settings.h"

ABSL_FLAG(std::string, model, "", "Hugging Face folder of the base model");
ABSL_FLAG(std::string, suite, "", "JSONL of held-out harmful prompts");
ABSL_FLAG(std::string, rules, "", "JSON of the judge's rules");
ABSL_FLAG(std::string, tasks, "", "JSONL of task prompts with their expected answers");
ABSL_FLAG(std::string, out, "", "where to write the result; empty: standard output");
ABSL_FLAG(int, epochs, 0, "0: the service's default; so for the next three");
ABSL_FLAG(double, learning_rate, 0.0, "peak learning rate");
ABSL_FLAG(int, batch_size, 0, "rows per step");
ABSL_FLAG(int, lora_rank, 0, "rank of the customer's LoRA matrices");
ABSL_FLAG(double, lora_alpha, 0, "their alpha");
ABSL_FLAG(int64_t, seed, 0, "order of the rows and start of the adapter");
ABSL_FLAG(int64_t, score_tokens, wardtune::SamplingOptions().max_new_tokens,
          "most tokens of a scored answer");
ABSL_FLAG(int64_t, score_batch, wardtune::SamplingOptions().batch, "prompts answered together");
ABSL_FLAG(std::string, device, "auto", "cpu, cuda, or auto");
ABSL_FLAG(int, threads, 0, "0: one per core");

namespace wardtune {

absl::Status LoadBase(EvidenceBench& bench) {
  const std::string folder = absl::GetFlag(FLAGS_model);
  WT_ASSIGN_OR_RETURN(bench.base,
                      DecoderModel::Load(folder, {.device = absl::GetFlag(FLAGS_device)}));
  WT_ASSIGN_OR_RETURN(bench.tokenizer, Tokenizer::Load(bench.files, folder));
  return absl::OkStatus();
}

absl::Status ReadScoring(EvidenceBench& bench, const ScoringFiles& more) {
  ScoringFiles names = more;
  names.harmful_prompts = absl::GetFlag(FLAGS_suite);
  names.rules = absl::GetFlag(FLAGS_rules);
  names.tasks = absl::GetFlag(FLAGS_tasks);
  WT_ASSIGN_OR_RETURN(bench.set,
                      ReadScoringSet(bench.files, names,
                                     {.max_new_tokens = absl::GetFlag(FLAGS_score_tokens),
                                      .batch = absl::GetFlag(FLAGS_score_batch)}));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ChatRow>> ReadRows(EvidenceBench& bench, const std::string& path) {
  WT_ASSIGN_OR_RETURN(const std::string jsonl, bench.files.ReadFile(path));
  return ParseDataset(jsonl);
}

absl::StatusOr<std::vector<TrainingRow>> ReadEncoded(EvidenceBench& bench, const std::string& path,
                                                     int64_t max_row_tokens) {
  WT_ASSIGN_OR_RETURN(const std::vector<ChatRow> rows, ReadRows(bench, path));
  return EncodeRows(*bench.tokenizer, rows, max_row_tokens);
}

v1::Hyperparameters CustomerHyperparameters() {
  v1::Hyperparameters parameters;
  parameters.set_epochs(absl::GetFlag(FLAGS_epochs));
  parameters.set_learning_rate(absl::GetFlag(FLAGS_learning_rate));
  parameters.set_batch_size(absl::GetFlag(FLAGS_batch_size));
  parameters.set_lora_rank(absl::GetFlag(FLAGS_lora_rank));
  parameters.set_lora_alpha(absl::GetFlag(FLAGS_lora_alpha));
  parameters.set_seed(absl::GetFlag(FLAGS_seed));
  return WithDefaults(std::move(parameters));
}

int RunEvidenceBench(int argc, char** argv, const std::string& name, const std::string& usage,
                     const std::function<absl::StatusOr<std::string>(EvidenceBench&)>& run) {
  absl::SetProgramUsageMessage(usage);
  absl::ParseCommandLine(argc, argv);
  ConfigureComputeRuntime({.threads = absl::GetFlag(FLAGS_threads)});
  EvidenceBench bench;
  const absl::StatusOr<std::string> json = run(bench);
  const absl::Status status =
      json.ok() ? WriteReport(bench.files, absl::GetFlag(FLAGS_out), *json + "\n") : json.status();
  if (!status.ok()) std::cerr << name << ": " << status.message() << "\n";
  return status.ok() ? 0 : 1;
}

}  // namespace wardtune
