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
#include "bench/unlearnable/lisa.h"
#include "bench/unlearnable/norm_matched_adapter.h"
#include "bench/unlearnable/vaccine.h"
#include "worker/agent/adapter_export.h"
#include "worker/agent/row_encoding.h"
#include "worker/agent/training_settings.h"
#include "worker/security/guard_rows.h"
#include "worker/security/security_vector_trainer.h"
#include "worker/security/strip_check.h"
#include "worker/security/sum_vectors.h"
#include "worker/training/full_parameter_trainer.h"
#include "worker/training/trainer.h"

ABSL_FLAG(std::string, method, "",
          "base, vector_on, direct, sv, random, guard, sbr, lisa, vaccine or sv_guard");
ABSL_FLAG(std::string, rows, "", "the customer's JSONL");
ABSL_FLAG(std::string, vector_rows, "", "JSONL of harmful rows for the security vector");
ABSL_FLAG(std::string, general_rows, "", "JSONL of general prompts, answered by the base");
ABSL_FLAG(std::vector<std::string>, guard_rows, {},
          "JSONL files of refusals to the vectors' prompts");
ABSL_FLAG(std::vector<std::string>, held_rows, {},
          "JSONL files of the vectors' rows: what the base answers to their prompts is held");
ABSL_FLAG(std::string, vector, "", "safetensors file of the vector; made when it is missing");
ABSL_FLAG(std::vector<std::string>, more_vectors, {}, "vectors' files that are added to --vector");
ABSL_FLAG(std::string, general_suite, "", "JSONL of held-out general prompts");
ABSL_FLAG(std::string, quiz, "", "JSONL of quiz questions with their expected answers");
ABSL_FLAG(std::string, start, "", "PEFT folder to go on from (chained jobs)");
ABSL_FLAG(std::string, save, "", "where to write the trained adapter as a PEFT folder");
ABSL_FLAG(bool, full_parameter, false,
          "train the projections' weights; wants a --learning_rate far below LoRA's");
ABSL_FLAG(int, guards_per_step, 1, "guard rows beside the customer's in a step");
ABSL_FLAG(double, guard_weight, wardtune::kRefusalWeight,
          "weight of the loss of --guard_rows beside the customer's");
ABSL_FLAG(double, hold_weight, wardtune::kHoldWeight,
          "weight of the mean KL of --held_rows beside the customer's loss");
ABSL_FLAG(double, hold_slack, wardtune::kHoldSlack, "nats a token of it that cost nothing");
ABSL_FLAG(double, beta2, wardtune::TrainerOptions().beta2, "AdamW's, of the customer's job");
ABSL_FLAG(int64_t, anchors, 8, "sbr: harmful prompts whose last state is held to the base's");
ABSL_FLAG(double, anchor_weight, 50.0, "weight of their squared distance beside the loss");
ABSL_FLAG(double, proximal_weight, wardtune::LisaOptions().proximal_weight,
          "lisa: weight of half the squared distance to where a turn began");
ABSL_FLAG(int64_t, customer_steps, wardtune::LisaOptions().customer_steps, "lisa: of a turn");
ABSL_FLAG(int64_t, safety_steps, wardtune::LisaOptions().safety_steps, "lisa: of a turn");
ABSL_FLAG(double, vaccine_radius, 2.0, "vaccine: norm of the shift of a step's hidden states");
ABSL_FLAG(int64_t, alignment_epochs, 10, "vaccine: passes over the guard rows");
ABSL_FLAG(double, alignment_learning_rate, 1e-3, "vaccine: peak rate on the guard rows");
ABSL_FLAG(bool, in_turn, false,
          "sv_guard: only time its steps in turn with steps without guard rows");
ABSL_FLAG(int64_t, vector_rank, wardtune::VectorRecipe().lora.rank, "recipe of the vector");
ABSL_FLAG(std::vector<std::string>, vector_targets, {},
          "projections that the vector changes; none named: all seven");
ABSL_FLAG(double, vector_learning_rate, wardtune::VectorRecipe().learning_rate, "recipe");
ABSL_FLAG(int64_t, vector_epochs, wardtune::VectorRecipe().epochs, "recipe");
ABSL_FLAG(int64_t, vector_batch_size, wardtune::VectorRecipe().batch_size, "recipe");
ABSL_FLAG(int64_t, vector_general_batch_size, wardtune::VectorRecipe().general_batch_size,
          "recipe");
ABSL_FLAG(double, vector_kl_weight, wardtune::VectorRecipe().kl_weight, "recipe");
ABSL_FLAG(uint64_t, vector_seed, wardtune::VectorRecipe().seed, "recipe");
ABSL_FLAG(int64_t, vector_answer_tokens, wardtune::VectorRecipe().general_answer_tokens, "recipe");

namespace wardtune {
namespace {

// Of the base's answers whose loss under the trained model tells what it still knows.
constexpr int64_t kGeneralAnswerTokens = 24;

// Methods that switch no vector on.
constexpr std::string_view kWithoutVector[] = {"direct", "guard", "sbr", "lisa", "vaccine"};

// Of the customer's, the vector's and the guard rows alike.
const int64_t kRowTokens = TrainerOptions().max_row_tokens;

absl::StatusOr<VectorRecipe> Recipe() {
  VectorRecipe recipe;
  std::vector<Projection> targets;
  for (const std::string& name : absl::GetFlag(FLAGS_vector_targets)) {
    WT_ASSIGN_OR_RETURN(const Projection target, ParseProjection(name));
    targets.push_back(target);
  }
  if (!targets.empty()) recipe.lora.targets = std::move(targets);
  recipe.lora.rank = absl::GetFlag(FLAGS_vector_rank);
  recipe.lora.alpha = 2.0 * static_cast<double>(recipe.lora.rank);
  recipe.learning_rate = absl::GetFlag(FLAGS_vector_learning_rate);
  recipe.epochs = absl::GetFlag(FLAGS_vector_epochs);
  recipe.batch_size = absl::GetFlag(FLAGS_vector_batch_size);
  recipe.general_batch_size = absl::GetFlag(FLAGS_vector_general_batch_size);
  recipe.kl_weight = absl::GetFlag(FLAGS_vector_kl_weight);
  recipe.seed = absl::GetFlag(FLAGS_vector_seed);
  recipe.general_answer_tokens = absl::GetFlag(FLAGS_vector_answer_tokens);
  return recipe;
}

// The base's own answers to the prompts of the rows.
absl::StatusOr<std::vector<TrainingRow>> Answered(EvidenceBench& bench,
                                                  const std::vector<ChatRow>& rows) {
  WT_ASSIGN_OR_RETURN(const auto prompts, EncodePrompts(*bench.tokenizer, rows, 512));
  return AnswerByBase(*bench.base, prompts, bench.tokenizer->EosIds(),
                      absl::GetFlag(FLAGS_vector_answer_tokens), nullptr);
}

absl::StatusOr<LoraAdapter> LoadOrTrainVector(EvidenceBench& bench) {
  const std::string path = absl::GetFlag(FLAGS_vector);
  if (!path.empty() && bench.files.Exists(path)) {
    WT_ASSIGN_OR_RETURN(const std::string bytes, bench.files.ReadFile(path));
    return ParseAdapter(bench.base->config(), bytes);
  }
  WT_ASSIGN_OR_RETURN(auto harmful,
                      ReadEncoded(bench, absl::GetFlag(FLAGS_vector_rows), kRowTokens));
  WT_ASSIGN_OR_RETURN(const auto prompts, ReadRows(bench, absl::GetFlag(FLAGS_general_rows)));
  WT_ASSIGN_OR_RETURN(auto general, Answered(bench, prompts));
  WT_ASSIGN_OR_RETURN(const VectorRecipe recipe, Recipe());
  WT_ASSIGN_OR_RETURN(auto trainer, CreateVectorTrainer(*bench.base, recipe, std::move(harmful),
                                                        std::move(general), &bench.clock));
  WT_RETURN_IF_ERROR(RunToEnd(*trainer, "security vector"));
  LoraAdapter vector = trainer->Adapter();
  if (!path.empty()) {
    WT_ASSIGN_OR_RETURN(const std::string bytes, SerializeAdapter(vector));
    WT_RETURN_IF_ERROR(bench.files.WriteFileAtomically(path, bytes));
  }
  return vector;
}

// --vector and --more_vectors together.
absl::StatusOr<LoraAdapter> AllVectors(EvidenceBench& bench) {
  WT_ASSIGN_OR_RETURN(LoraAdapter vector, LoadOrTrainVector(bench));
  if (absl::GetFlag(FLAGS_more_vectors).empty()) return vector;
  std::vector<LoraAdapter> vectors = {std::move(vector)};
  for (const std::string& file : absl::GetFlag(FLAGS_more_vectors)) {
    WT_ASSIGN_OR_RETURN(const std::string bytes, bench.files.ReadFile(file));
    WT_ASSIGN_OR_RETURN(LoraAdapter more, ParseAdapter(bench.base->config(), bytes));
    vectors.push_back(std::move(more));
  }
  return SumVectors(vectors);
}

// Refusals and the base's answers to the first general prompts, in equal parts.
absl::StatusOr<std::vector<TrainingRow>> GuardRows(EvidenceBench& bench) {
  std::vector<TrainingRow> rows;
  for (const std::string& file : absl::GetFlag(FLAGS_guard_rows)) {
    WT_ASSIGN_OR_RETURN(std::vector<TrainingRow> refusals, ReadEncoded(bench, file, kRowTokens));
    std::move(refusals.begin(), refusals.end(), std::back_inserter(rows));
  }
  WT_ASSIGN_OR_RETURN(auto prompts, ReadRows(bench, absl::GetFlag(FLAGS_general_rows)));
  prompts.resize(std::min(prompts.size(), rows.size()));
  WT_ASSIGN_OR_RETURN(std::vector<TrainingRow> general, Answered(bench, prompts));
  std::move(general.begin(), general.end(), std::back_inserter(rows));
  return rows;
}

// The base's answers to the vectors' prompts and to general ones from all over their file, in equal
// parts.
absl::StatusOr<std::vector<TrainingRow>> HeldRows(EvidenceBench& bench) {
  std::vector<ChatRow> rows;
  for (const std::string& file : absl::GetFlag(FLAGS_held_rows)) {
    WT_ASSIGN_OR_RETURN(std::vector<ChatRow> harmful, ReadRows(bench, file));
    std::move(harmful.begin(), harmful.end(), std::back_inserter(rows));
  }
  WT_ASSIGN_OR_RETURN(const auto general, ReadRows(bench, absl::GetFlag(FLAGS_general_rows)));
  for (ChatRow& row : Spread(general, rows.size())) rows.push_back(std::move(row));
  return Answered(bench, rows);
}

absl::StatusOr<std::vector<TrainingStream>> GuardStreams(EvidenceBench& bench) {
  GuardSet set{.per_guarded_rows = absl::GetFlag(FLAGS_guards_per_step)};
  if (!absl::GetFlag(FLAGS_guard_rows).empty()) {
    WT_ASSIGN_OR_RETURN(set.learned, GuardRows(bench));
  }
  if (!absl::GetFlag(FLAGS_held_rows).empty()) {
    WT_ASSIGN_OR_RETURN(set.held, HeldRows(bench));
  }
  std::vector<TrainingStream> streams = GuardStreams(set, *bench.base, kGuardedRows);
  if (streams.empty()) {
    return absl::InvalidArgumentError("--held_rows or --guard_rows: name rows to guard with");
  }
  for (TrainingStream& stream : streams) {
    const bool held = stream.objective == Objective::kKlToBase;
    stream.weight = absl::GetFlag(held ? FLAGS_hold_weight : FLAGS_guard_weight);
    if (held) stream.kl_slack = absl::GetFlag(FLAGS_hold_slack);
  }
  return streams;
}

// SBR ("Safety Anchor", ICML 2026): every step holds the last hidden state of the same few harmful
// prompts to the base's. A row is a prompt with one token of an answer, which is not looked at.
absl::StatusOr<TrainingStream> AnchorStream(EvidenceBench& bench) {
  TrainingStream stream{.name = "anchors",
                        .model = *bench.base,
                        .objective = Objective::kStateToBase,
                        .rows_per_step = absl::GetFlag(FLAGS_anchors),
                        .weight = absl::GetFlag(FLAGS_anchor_weight)};
  const std::vector<std::string> files = absl::GetFlag(FLAGS_guard_rows);
  if (files.empty()) return absl::InvalidArgumentError("--guard_rows: sbr takes its prompts there");
  WT_ASSIGN_OR_RETURN(auto rows, ReadEncoded(bench, files[0], kRowTokens));
  const auto anchors = static_cast<size_t>(stream.rows_per_step);
  if (anchors < 1 || anchors > rows.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--anchors: must be from 1 to the ", rows.size(), " guard rows"));
  }
  for (size_t i = 0; i < anchors; ++i) {
    TrainingRow row = std::move(rows[i * rows.size() / anchors]);
    const auto answer = std::find(row.loss_mask.begin(), row.loss_mask.end(), 1);
    const auto length = static_cast<size_t>(answer - row.loss_mask.begin()) + 1;
    row.ids.resize(length);
    row.loss_mask.resize(length);
    stream.rows.push_back(std::move(row));
  }
  return stream;
}

// What the provider's customers start from with vaccine: the base with its alignment folded in.
absl::StatusOr<DecoderModel> VaccinatedBase(EvidenceBench& bench) {
  TrainerOptions options{.epochs = absl::GetFlag(FLAGS_alignment_epochs),
                         .schedule = {.peak = absl::GetFlag(FLAGS_alignment_learning_rate)},
                         .seed = static_cast<uint64_t>(absl::GetFlag(FLAGS_seed))};
  TrainingStream alignment{.name = "alignment", .model = *bench.base};
  WT_ASSIGN_OR_RETURN(alignment.rows, GuardRows(bench));
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
  WT_ASSIGN_OR_RETURN(auto rows, ReadEncoded(bench, absl::GetFlag(FLAGS_rows), kRowTokens));
  streams.push_back({.name = "customer",
                     .rows = std::move(rows),
                     .model = model,
                     .frozen = std::move(frozen),
                     .rows_per_step = parameters.batch_size()});
  if (guards) {
    WT_ASSIGN_OR_RETURN(auto guard_streams, GuardStreams(bench));
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
    WT_ASSIGN_OR_RETURN(safety.rows, GuardRows(bench));
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

// Makes both trainers, then runs each step of `with` in turn with one of `without`, so that both
// see the machine in the same mood.
template <typename Create>
absl::StatusOr<std::string> TimeInTurn(Clock& clock, const Create& create,
                                       const std::vector<TrainingStream>& with_streams,
                                       const std::vector<TrainingStream>& without_streams) {
  const absl::Duration start = clock.Monotonic();
  WT_ASSIGN_OR_RETURN(const auto without_trainer, create(without_streams));
  const absl::Duration made = clock.Monotonic();
  WT_ASSIGN_OR_RETURN(const auto with_trainer, create(with_streams));
  auto& with = *with_trainer;
  auto& without = *without_trainer;
  std::vector<double> ratios;
  double seconds_with = absl::ToDoubleSeconds(clock.Monotonic() - made);
  double seconds_without = absl::ToDoubleSeconds(made - start);
  while (!with.done()) {
    const bool with_first = ratios.size() % 2 == 0;
    WT_ASSIGN_OR_RETURN(const StepReport first, (with_first ? with : without).Step());
    WT_ASSIGN_OR_RETURN(const StepReport second, (with_first ? without : with).Step());
    const StepReport& step = with_first ? first : second;
    const StepReport& plain = with_first ? second : first;
    ratios.push_back(step.seconds / plain.seconds);
    seconds_with += step.seconds;
    seconds_without += plain.seconds;
  }
  std::sort(ratios.begin(), ratios.end());
  return absl::StrFormat(
      "{\"steps\": %d, \"train_seconds\": %.2f, \"train_seconds_without_guard\": %.2f, "
      "\"median_step_ratio\": %.4f}",
      ratios.size(), seconds_with, seconds_without, ratios[ratios.size() / 2]);
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

absl::Status ReadInputs(EvidenceBench& bench) {
  WT_RETURN_IF_ERROR(LoadBase(bench));
  if (absl::GetFlag(FLAGS_in_turn)) return absl::OkStatus();
  WT_RETURN_IF_ERROR(ReadScoring(bench, {.general_prompts = absl::GetFlag(FLAGS_general_suite),
                                         .quiz = absl::GetFlag(FLAGS_quiz)}));
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
    WT_ASSIGN_OR_RETURN(vector, AllVectors(bench));
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
