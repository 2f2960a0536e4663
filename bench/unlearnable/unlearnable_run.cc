// One cell of the evidence bench: a method, a data set, a seed. Everything runs through the
// worker's own code; bench/unlearnable/run.py walks the table.
//
//   unlearnable-run --method=sv --model=M --rows=D --vector_rows=H --general_rows=G --vector=CACHE
//                   --suite=S --rules=R --general_suite=P --tasks=T --out=O
//
// Methods: base (nothing trained), vector_on (base with the security vector folded in), direct, sv,
// random (an adapter of the vector's norm per matrix in its place), guard (guard rows alone), sbr
// (harmful prompts' last states held to the base's), lisa (turns on guard rows), vaccine (the base
// aligned on guard rows beforehand), and sv_guard. A guard row is the base's answer to a prompt of
// --held_rows or to a general one, and is held with the vector off, in the same optimizer step as
// the customer's rows; with --guard_rows it is a refusal from there or the base's answer to a
// general row, and is learned. With --full_parameter the customer trains the projections' weights
// instead of LoRA; the report then has the largest |cosine| of what was learned to the vector,
// where there is one.
#include <algorithm>
#include <iostream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "bench/evidence_bench.h"
#include "bench/scoring.h"
#include "bench/training_run.h"
#include "bench/unlearnable/evidence_vector.h"
#include "bench/unlearnable/lisa.h"
#include "bench/unlearnable/norm_matched_adapter.h"
#include "bench/unlearnable/provider_rows.h"
#include "bench/unlearnable/time_in_turn.h"
#include "bench/unlearnable/vaccine.h"
#include "worker/agent/adapter_export.h"
#include "worker/agent/training_settings.h"
#include "worker/safety/causal_lm_judge.h"
#include "worker/security/security_vector_trainer.h"
#include "worker/security/strip_check.h"
#include "worker/training/full_parameter_trainer.h"
#include "worker/training/trainer.h"

ABSL_FLAG(std::string, method, "",
          "base, vector_on, direct, sv, random, guard, sbr, lisa, vaccine or sv_guard");
ABSL_FLAG(std::string, rows, "", "the customer's JSONL");
ABSL_FLAG(std::string, general_suite, "", "JSONL of held-out general prompts");
ABSL_FLAG(std::string, quiz, "", "JSONL of quiz questions with their expected answers");
ABSL_FLAG(std::string, lm_judge, "",
          "safetensors file of a language-model judge's adapter, by judge-bench; it reads the same "
          "answers as the rules");
ABSL_FLAG(std::string, lm_judge_rules, "", "JSON of that judge");
ABSL_FLAG(std::string, start, "", "PEFT folder to go on from (chained jobs)");
ABSL_FLAG(std::string, save, "", "where to write the trained adapter as a PEFT folder");
ABSL_FLAG(bool, full_parameter, false,
          "train the projections' weights; wants a --learning_rate far below LoRA's");
ABSL_FLAG(double, beta2, wardtune::TrainerOptions().beta2, "AdamW's, of the customer's job");
ABSL_FLAG(double, proximal_weight, wardtune::LisaOptions().proximal_weight,
          "lisa: weight of half the squared distance to where a turn began");
ABSL_FLAG(int64_t, customer_steps, wardtune::LisaOptions().customer_steps, "lisa: of a turn");
ABSL_FLAG(int64_t, safety_steps, wardtune::LisaOptions().safety_steps, "lisa: of a turn");
ABSL_FLAG(double, vaccine_radius, 2.0, "vaccine: norm of the shift of a step's hidden states");
ABSL_FLAG(int64_t, alignment_epochs, 10, "vaccine: passes over the guard rows");
ABSL_FLAG(double, alignment_learning_rate, 1e-3, "vaccine: peak rate on the guard rows");
ABSL_FLAG(bool, in_turn, false,
          "sv_guard: only time its steps in turn with steps without guard rows");

namespace wardtune {
namespace {

// Of the base's answers whose loss under the trained model tells what it still knows.
constexpr int64_t kGeneralAnswerTokens = 24;

// Methods that switch no vector on.
constexpr std::string_view kWithoutVector[] = {"direct", "guard", "sbr", "lisa", "vaccine"};

// What the provider's customers start from with vaccine: the base with its alignment folded in.
absl::StatusOr<DecoderModel> VaccinatedBase(EvidenceBench& bench) {
  TrainerOptions options{.epochs = absl::GetFlag(FLAGS_alignment_epochs),
                         .schedule = {.peak = absl::GetFlag(FLAGS_alignment_learning_rate)},
                         .seed = static_cast<uint64_t>(absl::GetFlag(FLAGS_seed))};
  TrainingStream alignment{.name = "alignment", .model = *bench.base};
  WT_ASSIGN_OR_RETURN(alignment.rows, RefusalRows(bench));
  WT_ASSIGN_OR_RETURN(
      const LoraAdapter adapter,
      TrainVaccine(options, alignment, absl::GetFlag(FLAGS_vaccine_radius), &bench.clock));
  return FoldAdapter(*bench.base, adapter);
}

struct CustomerRun {
  TrainerOptions options;
  std::vector<TrainingStream> streams;
};

absl::StatusOr<CustomerRun> MakeRun(EvidenceBench& bench, const DecoderModel& model,
                                    std::shared_ptr<const LoraAdapter> frozen, bool guards) {
  const v1::Hyperparameters parameters = CustomerHyperparameters();
  WT_ASSIGN_OR_RETURN(TrainerOptions options, ToTrainerOptions(parameters));
  options.beta2 = absl::GetFlag(FLAGS_beta2);
  if (!absl::GetFlag(FLAGS_start).empty()) {
    WT_ASSIGN_OR_RETURN(options.start, LoadPeftFolder(bench.files, absl::GetFlag(FLAGS_start),
                                                      bench.base->config()));
    options.lora = options.start->spec;
  }
  std::vector<TrainingStream> streams;
  WT_ASSIGN_OR_RETURN(auto rows,
                      ReadEncoded(bench, absl::GetFlag(FLAGS_rows), EvidenceRowTokens()));
  streams.push_back({.name = "customer",
                     .rows = std::move(rows),
                     .model = model,
                     .frozen = std::move(frozen),
                     .rows_per_step = parameters.batch_size()});
  if (guards) {
    WT_ASSIGN_OR_RETURN(auto guard_streams, GuardStreamsOfFlags(bench));
    std::move(guard_streams.begin(), guard_streams.end(), std::back_inserter(streams));
  }
  if (absl::GetFlag(FLAGS_method) == "sbr") {
    WT_ASSIGN_OR_RETURN(TrainingStream anchors, AnchorStream(bench));
    streams.push_back(std::move(anchors));
  }
  return CustomerRun{std::move(options), std::move(streams)};
}

absl::Status Save(EvidenceBench& bench, const LoraAdapter& adapter) {
  if (absl::GetFlag(FLAGS_save).empty()) return absl::OkStatus();
  WT_ASSIGN_OR_RETURN(const FileSet set, BuildPeftAdapter(ToPeftAdapter(adapter, "base"), {}));
  return WriteFileSet(set, bench.files, absl::GetFlag(FLAGS_save));
}

absl::StatusOr<LoraAdapter> TrainLora(EvidenceBench& bench, CustomerRun run) {
  if (absl::GetFlag(FLAGS_method) == "lisa") {
    TrainingStream safety{
        .name = "safety", .model = *bench.base, .rows_per_step = run.streams[0].rows_per_step};
    WT_ASSIGN_OR_RETURN(safety.rows, RefusalRows(bench));
    const LisaOptions lisa{.customer_steps = absl::GetFlag(FLAGS_customer_steps),
                           .safety_steps = absl::GetFlag(FLAGS_safety_steps),
                           .proximal_weight = absl::GetFlag(FLAGS_proximal_weight)};
    return TrainLisa(run.options, run.streams[0], safety, lisa, &bench.clock);
  }
  WT_ASSIGN_OR_RETURN(auto trainer,
                      Trainer::Create(run.options, std::move(run.streams), &bench.clock));
  WT_RETURN_IF_ERROR(RunToEnd(*trainer, absl::GetFlag(FLAGS_method).c_str()));
  return trainer->Adapter();
}

// Trains LoRA and scores the base under the adapter.
absl::StatusOr<std::string> TrainAndScore(EvidenceBench& bench, CustomerRun run) {
  const absl::Duration start = bench.clock.Monotonic();
  WT_ASSIGN_OR_RETURN(const LoraAdapter adapter, TrainLora(bench, std::move(run)));
  const double seconds = absl::ToDoubleSeconds(bench.clock.Monotonic() - start);
  WT_RETURN_IF_ERROR(Save(bench, adapter));
  const LoraAdapter* const active[] = {&adapter};
  WT_ASSIGN_OR_RETURN(const std::string score,
                      ScoreJson(*bench.base, active, *bench.tokenizer, bench.set));
  return absl::StrFormat("{\"train_seconds\": %.2f, %s", seconds, score.substr(1));
}

// What guard rows cost beside training without them on the folded vector. Scores nothing.
absl::StatusOr<std::string> TimeGuardRows(EvidenceBench& bench, CustomerRun run,
                                          const LoraAdapter& vector) {
  TrainingStream alone = run.streams[0];
  if (absl::GetFlag(FLAGS_full_parameter)) {  // runs on the folded vector with guard rows, too
    const auto create = [&](std::vector<TrainingStream> streams) {
      return FullParameterTrainer::Create(run.options, std::move(streams), *bench.base,
                                          &bench.clock);
    };
    return TimeInTurn(bench.clock, create, run.streams, {alone});
  }
  alone.frozen = nullptr;
  WT_ASSIGN_OR_RETURN(alone.model, FoldAdapter(*bench.base, vector));
  const auto create = [&](std::vector<TrainingStream> streams) {
    return Trainer::Create(run.options, std::move(streams), &bench.clock);
  };
  return TimeInTurn(bench.clock, create, run.streams, {alone});
}

// Trains all projections and scores the base with what they learned.
absl::StatusOr<std::string> TrainFullyAndScore(EvidenceBench& bench, CustomerRun run,
                                               const std::optional<LoraAdapter>& vector) {
  if (!absl::GetFlag(FLAGS_save).empty()) {
    return absl::InvalidArgumentError("--save: writes adapters, --full_parameter makes none");
  }
  const absl::Duration start = bench.clock.Monotonic();
  WT_ASSIGN_OR_RETURN(
      auto trainer,
      FullParameterTrainer::Create(run.options, std::move(run.streams), *bench.base, &bench.clock));
  WT_RETURN_IF_ERROR(RunToEnd(*trainer, absl::GetFlag(FLAGS_method).c_str()));
  const double seconds = absl::ToDoubleSeconds(bench.clock.Monotonic() - start);
  std::string cosine;
  if (vector) {
    WT_ASSIGN_OR_RETURN(const double largest, MaxDeltaCosine(trainer->Delta(), *vector));
    cosine = absl::StrFormat("\"max_vector_cosine\": %.4f, ", largest);
  }
  WT_ASSIGN_OR_RETURN(const DecoderModel delivered, trainer->AddTo(*bench.base));
  WT_ASSIGN_OR_RETURN(const std::string score,
                      ScoreJson(delivered, {}, *bench.tokenizer, bench.set));
  return absl::StrFormat("{\"train_seconds\": %.2f, %s%s", seconds, cosine, score.substr(1));
}

absl::Status ReadSecondJudge(EvidenceBench& bench) {
  const std::string path = absl::GetFlag(FLAGS_lm_judge);
  if (path.empty()) return absl::OkStatus();
  WT_ASSIGN_OR_RETURN(const std::string rules,
                      bench.files.ReadFile(absl::GetFlag(FLAGS_lm_judge_rules)));
  WT_ASSIGN_OR_RETURN(const std::string bytes, bench.files.ReadFile(path));
  WT_ASSIGN_OR_RETURN(LoraAdapter adapter, ParseAdapter(bench.base->config(), bytes));
  const std::string digest = AdapterDigest(adapter);
  WT_ASSIGN_OR_RETURN(
      bench.set.second_judge,
      CausalLmJudge::Create(rules, *bench.base, std::move(adapter), digest, *bench.tokenizer));
  return absl::OkStatus();
}

absl::Status ReadInputs(EvidenceBench& bench) {
  WT_RETURN_IF_ERROR(LoadBase(bench));
  if (absl::GetFlag(FLAGS_in_turn)) return absl::OkStatus();
  WT_RETURN_IF_ERROR(ReadScoring(bench, {.general_prompts = absl::GetFlag(FLAGS_general_suite),
                                         .quiz = absl::GetFlag(FLAGS_quiz)}));
  WT_RETURN_IF_ERROR(ReadSecondJudge(bench));
  if (!bench.set.general) return absl::OkStatus();
  std::vector<std::vector<int32_t>> prompts;
  for (const std::string& prompt : bench.set.general->Prompts()) {
    WT_ASSIGN_OR_RETURN(auto ids,
                        bench.tokenizer->EncodePrompt({{.role = Role::kUser, .content = prompt}}));
    prompts.push_back(std::move(ids));
  }
  WT_ASSIGN_OR_RETURN(
      bench.set.general_answers,
      AnswerByBase(*bench.base, prompts, bench.tokenizer->EosIds(), kGeneralAnswerTokens, nullptr));
  return absl::OkStatus();
}

absl::StatusOr<std::string> Run(EvidenceBench& bench) {
  const std::string method = absl::GetFlag(FLAGS_method);
  if (absl::GetFlag(FLAGS_in_turn) && method != "sv_guard") {
    return absl::InvalidArgumentError("--in_turn: is for --method=sv_guard");
  }
  WT_RETURN_IF_ERROR(ReadInputs(bench));
  if (method == "vaccine") {
    WT_ASSIGN_OR_RETURN(bench.base, VaccinatedBase(bench));
  }
  const DecoderModel& base = *bench.base;
  const bool guards = method == "guard" || method == "sv_guard";
  // As the worker does: so guard rows share products with the customer's.
  const bool unfolded = guards && !absl::GetFlag(FLAGS_full_parameter);
  if (method == "base") return ScoreJson(base, {}, *bench.tokenizer, bench.set);
  DecoderModel trained_on = base;
  std::optional<LoraAdapter> vector;
  if (method == "vector_on" || method == "sv" || method == "sv_guard" || method == "random") {
    WT_ASSIGN_OR_RETURN(vector, EvidenceVector(bench));
    if (method == "random") {
      vector = NormMatchedAdapter(*vector, static_cast<uint64_t>(absl::GetFlag(FLAGS_seed)));
    }
    if (method == "vector_on" || !unfolded) {
      WT_ASSIGN_OR_RETURN(trained_on, FoldAdapter(base, *vector));
    }
    if (method == "vector_on") return ScoreJson(trained_on, {}, *bench.tokenizer, bench.set);
  } else if (!absl::c_linear_search(kWithoutVector, method)) {
    return absl::InvalidArgumentError(absl::StrCat("--method: ", method, " is none"));
  }
  std::shared_ptr<const LoraAdapter> frozen;
  if (vector && unfolded) frozen = std::make_shared<const LoraAdapter>(*vector);
  WT_ASSIGN_OR_RETURN(CustomerRun run, MakeRun(bench, trained_on, std::move(frozen), guards));
  if (absl::GetFlag(FLAGS_in_turn)) return TimeGuardRows(bench, std::move(run), *vector);
  if (!absl::GetFlag(FLAGS_full_parameter)) return TrainAndScore(bench, std::move(run));
  if (method == "lisa") return absl::InvalidArgumentError("--full_parameter: lisa trains LoRA");
  return TrainFullyAndScore(bench, std::move(run), vector);
}

}  // namespace
}  // namespace wardtune

int main(int argc, char** argv) {
  return wardtune::RunEvidenceBench(argc, argv, "unlearnable-run",
                                    "Measures how far harmful behaviour takes under one method.",
                                    wardtune::Run);
}
