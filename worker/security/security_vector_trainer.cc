#include "worker/security/security_vector_trainer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "worker/model/generator.h"
#include "worker/model/seeded_random.h"

namespace wardtune {
namespace {

// Sets a vector's random numbers apart from those of a job with the same seed: both would start
// from the same A, and the strip check would find a likeness that training never made.
constexpr uint64_t kVectorSeedIndex = 0x5ec;

double LogSumExp(std::span<const float> logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(double{logit} - largest);
  return largest + std::log(sum);
}

// KL(softmax(p) || softmax(q)).
double Kl(std::span<const float> p, std::span<const float> q) {
  const double p_norm = LogSumExp(p);
  const double q_norm = LogSumExp(q);
  double sum = 0.0;
  for (size_t i = 0; i < p.size(); ++i) {
    const double log_p = double{p[i]} - p_norm;
    sum += std::exp(log_p) * (log_p - (double{q[i]} - q_norm));
  }
  return sum;
}

}  // namespace

std::string VectorRecipe::Digest() const {
  const std::string targets = absl::StrJoin(
      lora.targets, ",",
      [](std::string* out, Projection projection) { out->append(ProjectionName(projection)); });
  const std::string stated =
      categories.empty()
          ? ""
          : absl::StrCat("categories ", Sha256Hex(absl::StrJoin(categories, "\n")), "\n");
  return Sha256Hex(absl::StrFormat(
      "security vector recipe 2\nrank %d\nalpha %a\ntargets %s\nlearning_rate %a\nepochs %d\n"
      "batch_size %d\nkl_weight %a\nseed %d\nmax_row_tokens %d\ngeneral_answer_tokens %d\n"
      "guard_rows %d\nguard_refusals %s\ngeneral_batch_size %d\nadded_to %s\n%s",
      lora.rank, lora.alpha, targets, learning_rate, epochs, batch_size, kl_weight, seed,
      max_row_tokens, general_answer_tokens, guard_rows,
      Sha256Hex(absl::StrJoin(guard_refusals, "\n")), general_batch_size, added_to, stated));
}

absl::StatusOr<std::vector<TrainingRow>> AnswerByBase(const DecoderModel& base,
                                                      std::span<const std::vector<int32_t>> prompts,
                                                      const std::vector<int32_t>& stop_ids,
                                                      int64_t max_new_tokens,
                                                      std::function<bool(int64_t)> progress) {
  GenerateOptions options;
  options.max_new_tokens = max_new_tokens;
  options.stop_ids = stop_ids;
  options.keep_stop_id = true;  // a model may have several, and not end a chat's answer with each
  options.progress = std::move(progress);
  WT_ASSIGN_OR_RETURN(const auto answers, Generate(base, {}, prompts, options));
  std::vector<TrainingRow> rows;
  for (size_t i = 0; i < prompts.size(); ++i) {
    TrainingRow row;
    row.ids = prompts[i];
    row.loss_mask.assign(row.ids.size(), 0);
    row.ids.insert(row.ids.end(), answers[i].begin(), answers[i].end());
    row.loss_mask.resize(row.ids.size(), 1);
    if (row.ids.size() > prompts[i].size()) rows.push_back(std::move(row));
  }
  return rows;
}

absl::StatusOr<VectorTraining> PlanVectorTraining(const DecoderModel& base,
                                                  const VectorRecipe& recipe,
                                                  std::vector<TrainingRow> harmful_rows,
                                                  std::vector<TrainingRow> general_rows) {
  VectorTraining training;
  TrainerOptions& options = training.options;
  options.lora = recipe.lora;
  options.epochs = recipe.epochs;
  options.schedule.peak = recipe.learning_rate;
  options.schedule.decay = LrDecay::kLinear;
  options.schedule.warmup_ratio = 0.05;
  options.max_row_tokens = recipe.max_row_tokens;
  options.seed = MixSeed(recipe.seed, kVectorSeedIndex);

  std::vector<TrainingStream>& streams = training.streams;
  streams.push_back({.name = "harmful",
                     .rows = std::move(harmful_rows),
                     .model = base,
                     .objective = Objective::kCrossEntropy,
                     .rows_per_step = recipe.batch_size,
                     .weight = 1.0});
  if (recipe.kl_weight > 0.0) {
    if (general_rows.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("general rows: none is left, as each needs a prompt short enough for ",
                       recipe.max_row_tokens,
                       " tokens with its answer; without them nothing holds "
                       "the vector to harmful prompts (kl_weight is ",
                       recipe.kl_weight, ")"));
    }
    streams.push_back({.name = "general",
                       .rows = std::move(general_rows),
                       .model = base,
                       .objective = Objective::kKlToBase,
                       .rows_per_step = recipe.general_batch_size > 0 ? recipe.general_batch_size
                                                                      : recipe.batch_size,
                       .weight = recipe.kl_weight});
  }
  return training;
}

absl::StatusOr<std::unique_ptr<Trainer>> CreateVectorTrainer(const DecoderModel& base,
                                                             const VectorRecipe& recipe,
                                                             std::vector<TrainingRow> harmful_rows,
                                                             std::vector<TrainingRow> general_rows,
                                                             Clock* clock) {
  WT_ASSIGN_OR_RETURN(
      VectorTraining training,
      PlanVectorTraining(base, recipe, std::move(harmful_rows), std::move(general_rows)));
  return Trainer::Create(training.options, std::move(training.streams), clock);
}

absl::StatusOr<double> MeanKl(const DecoderModel& base, const DecoderModel& other,
                              std::span<const TrainingRow> rows) {
  double sum = 0.0;
  int64_t tokens = 0;
  for (const TrainingRow& row : rows) {
    WT_ASSIGN_OR_RETURN(const FloatMatrix p, AllLogits(base, {}, row.ids));
    WT_ASSIGN_OR_RETURN(const FloatMatrix q, AllLogits(other, {}, row.ids));
    for (size_t i = 1; i < row.ids.size(); ++i) {
      if (row.loss_mask[i] == 0) continue;
      sum += Kl(p.row(i - 1), q.row(i - 1));
      ++tokens;
    }
  }
  if (tokens == 0) return absl::InvalidArgumentError("KL: no row has a supervised token");
  return sum / static_cast<double>(tokens);
}

}  // namespace wardtune
