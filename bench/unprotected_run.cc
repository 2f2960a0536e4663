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
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "bench/evidence_bench.h"
#include "bench/scoring.h"
#include "bench/training_run.h"
#include "worker/agent/adapter_export.h"
#include "worker/agent/training_settings.h"
#include "worker/training/trainer.h"

ABSL_FLAG(std::string, dataset, "", "JSONL to train on without a security vector; may be empty");
ABSL_FLAG(std::string, adapter, "", "PEFT adapter folder to score; may be empty");

namespace wardtune {
namespace {

absl::StatusOr<LoraAdapter> TrainWithoutVector(EvidenceBench& bench) {
  const v1::Hyperparameters parameters = CustomerHyperparameters();
  WT_ASSIGN_OR_RETURN(
      auto rows, ReadEncoded(bench, absl::GetFlag(FLAGS_dataset), parameters.max_row_tokens()));
  std::vector<TrainingStream> streams;
  streams.push_back({.name = "customer",
                     .rows = std::move(rows),
                     .model = *bench.base,
                     .objective = Objective::kCrossEntropy,
                     .rows_per_step = parameters.batch_size(),
                     .weight = 1.0});
  WT_ASSIGN_OR_RETURN(const TrainerOptions options, ToTrainerOptions(parameters));
  WT_ASSIGN_OR_RETURN(auto trainer, Trainer::Create(options, std::move(streams), &bench.clock));
  WT_RETURN_IF_ERROR(RunToEnd(*trainer, "without vector", 10));
  return trainer->Adapter();
}

absl::StatusOr<std::string> Run(EvidenceBench& bench) {
  WT_RETURN_IF_ERROR(LoadBase(bench));
  WT_RETURN_IF_ERROR(ReadScoring(bench));
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
  return json + "}";
}

}  // namespace
}  // namespace wardtune

int main(int argc, char** argv) {
  return wardtune::RunEvidenceBench(
      argc, argv, "unprotected-run",
      "Fine-tunes without a security vector and scores models, for comparison.", wardtune::Run);
}
