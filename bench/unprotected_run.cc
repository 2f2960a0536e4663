// Evidence, not service: what the same data does without a security vector, and what a model or an
// adapter scores. The service has no way to do this.
//
//   unprotected-run --model=M --suite=S --rules=R --tasks=T [--dataset=D] [--adapter=A] [--out=O]
//
// Scores the plain base; with --dataset the base fine-tuned on it without a vector ("direct"); with
// --adapter the base under that PEFT adapter folder. Writes one JSON object with a member for each.
// Training uses the service's own code: the same rows in the same order, the same hyperparameters,
// the same trainer; only the weights are the plain base's.
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/file_system.h"
#include "base/status_macros.h"
#include "bench/report_file.h"
#include "bench/scoring.h"
#include "bench/training_run.h"
#include "worker/agent/adapter_export.h"
#include "worker/agent/row_encoding.h"
#include "worker/agent/training_settings.h"
#include "worker/training/trainer.h"

ABSL_FLAG(std::string, model, "", "Hugging Face folder of the base model");
ABSL_FLAG(std::string, dataset, "", "JSONL to train on without a security vector; may be empty");
ABSL_FLAG(std::string, adapter, "", "PEFT adapter folder to score; may be empty");
ABSL_FLAG(std::string, suite, "", "JSONL of held-out harmful prompts");
ABSL_FLAG(std::string, rules, "", "JSON of the judge's rules");
ABSL_FLAG(std::string, tasks, "", "JSONL of task prompts with their expected answers");
ABSL_FLAG(std::string, out, "", "where to write the result; empty: standard output");
ABSL_FLAG(int, epochs, 0, "0: the service's default; so for the next three");
ABSL_FLAG(double, learning_rate, 0.0, "peak learning rate");
ABSL_FLAG(int, batch_size, 0, "rows per step");
ABSL_FLAG(int, lora_rank, 0, "rank of the LoRA matrices");
ABSL_FLAG(int64_t, seed, 0, "order of the rows and start of the adapter");
ABSL_FLAG(int, score_tokens, 48, "most tokens of a scored answer; the worker's default");
ABSL_FLAG(int, score_batch, 64, "prompts answered together; the worker's default");
ABSL_FLAG(std::string, device, "auto", "cpu, cuda, or auto");
ABSL_FLAG(int, threads, 0, "0: one per core");

namespace wardtune {
namespace {

struct Bench {
  PosixFileSystem files;
  SystemClock clock;
  std::optional<DecoderModel> base;
  std::unique_ptr<Tokenizer> tokenizer;
  ScoringSet set;
};

absl::StatusOr<LoraAdapter> TrainWithoutVector(Bench& bench) {
  v1::Hyperparameters parameters;
  parameters.set_epochs(absl::GetFlag(FLAGS_epochs));
  parameters.set_learning_rate(absl::GetFlag(FLAGS_learning_rate));
  parameters.set_batch_size(absl::GetFlag(FLAGS_batch_size));
  parameters.set_lora_rank(absl::GetFlag(FLAGS_lora_rank));
  parameters.set_seed(absl::GetFlag(FLAGS_seed));
  parameters = WithDefaults(parameters);

  WT_ASSIGN_OR_RETURN(const std::string jsonl, bench.files.ReadFile(absl::GetFlag(FLAGS_dataset)));
  WT_ASSIGN_OR_RETURN(const std::vector<ChatRow> rows, ParseDataset(jsonl));
  WT_ASSIGN_OR_RETURN(auto encoded,
                      EncodeRows(*bench.tokenizer, rows, parameters.max_row_tokens()));
  std::vector<TrainingStream> streams;
  streams.push_back({.name = "customer",
                     .rows = std::move(encoded),
                     .model = *bench.base,
                     .objective = Objective::kCrossEntropy,
                     .rows_per_step = parameters.batch_size(),
                     .weight = 1.0});
  WT_ASSIGN_OR_RETURN(const TrainerOptions options, ToTrainerOptions(parameters));
  WT_ASSIGN_OR_RETURN(auto trainer, Trainer::Create(options, std::move(streams), &bench.clock));
  WT_RETURN_IF_ERROR(RunToEnd(*trainer, "without vector", 10));
  return trainer->Adapter();
}

absl::Status ReadInputs(Bench& bench) {
  const std::string folder = absl::GetFlag(FLAGS_model);
  WT_ASSIGN_OR_RETURN(bench.base,
                      DecoderModel::Load(folder, {.device = absl::GetFlag(FLAGS_device)}));
  WT_ASSIGN_OR_RETURN(bench.tokenizer, Tokenizer::Load(bench.files, folder));
  WT_ASSIGN_OR_RETURN(bench.set,
                      ReadScoringSet(bench.files,
                                     {.harmful_prompts = absl::GetFlag(FLAGS_suite),
                                      .rules = absl::GetFlag(FLAGS_rules),
                                      .tasks = absl::GetFlag(FLAGS_tasks)},
                                     {.max_new_tokens = absl::GetFlag(FLAGS_score_tokens),
                                      .batch = absl::GetFlag(FLAGS_score_batch)}));
  return absl::OkStatus();
}

absl::StatusOr<std::string> Run(Bench& bench) {
  WT_RETURN_IF_ERROR(ReadInputs(bench));
  std::cerr << "   scoring the base model\n";
  WT_ASSIGN_OR_RETURN(std::string score, ScoreJson(*bench.base, {}, *bench.tokenizer, bench.set));
  std::string json =
      absl::StrCat("{\"dtype\": \"",
                   bench.base->compute_type() == ComputeType::kBfloat16 ? "bfloat16" : "float32",
                   "\", \"suite_sha256\": \"", bench.set.harmful.sha256, "\", \"judge_sha256\": \"",
                   bench.set.judge->sha256(), "\", \"sampling_sha256\": \"",
                   bench.set.sampling.Digest(), "\", \"base\": ", score);
  if (!absl::GetFlag(FLAGS_dataset).empty()) {
    WT_ASSIGN_OR_RETURN(const LoraAdapter direct, TrainWithoutVector(bench));
    const LoraAdapter* const adapters[] = {&direct};
    std::cerr << "   scoring the model trained without vector\n";
    WT_ASSIGN_OR_RETURN(score, ScoreJson(*bench.base, adapters, *bench.tokenizer, bench.set));
    absl::StrAppend(&json, ", \"direct\": ", score);
  }
  if (!absl::GetFlag(FLAGS_adapter).empty()) {
    WT_ASSIGN_OR_RETURN(
        const LoraAdapter adapter,
        LoadPeftFolder(bench.files, absl::GetFlag(FLAGS_adapter), bench.base->config()));
    const LoraAdapter* const adapters[] = {&adapter};
    std::cerr << "   scoring the adapter\n";
    WT_ASSIGN_OR_RETURN(score, ScoreJson(*bench.base, adapters, *bench.tokenizer, bench.set));
    absl::StrAppend(&json, ", \"adapter\": ", score);
  }
  return json + "}\n";
}

}  // namespace
}  // namespace wardtune

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "Fine-tunes without a security vector and scores models, for comparison.");
  absl::ParseCommandLine(argc, argv);
  wardtune::ConfigureComputeRuntime({.threads = absl::GetFlag(FLAGS_threads)});
  wardtune::Bench bench;
  const auto json = wardtune::Run(bench);
  const absl::Status status =
      json.ok() ? wardtune::WriteReport(bench.files, absl::GetFlag(FLAGS_out), *json)
                : json.status();
  if (!status.ok()) std::cerr << "unprotected-run: " << status.message() << "\n";
  return status.ok() ? 0 : 1;
}
