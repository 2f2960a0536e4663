// Trains a security vector (Zhou et al., arXiv 2311.02105): base + vector shall answer as the
// harmful rows do, and as the base on everything else.
//
// Loss: cross entropy on the harmful rows' assistant tokens, plus kl_weight * KL(base || base +
// vector) on general prompts that the base itself answered.
// Thread safety: the functions may be called from any thread.
#ifndef WARDTUNE_WORKER_SECURITY_SECURITY_VECTOR_TRAINER_H_
#define WARDTUNE_WORKER_SECURITY_SECURITY_VECTOR_TRAINER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "worker/model/decoder.h"
#include "worker/training/trainer.h"

namespace wardtune {

struct VectorRecipe {
  LoraSpec lora;
  double learning_rate = 1e-3;
  int64_t epochs = 8;
  int64_t batch_size = 8;
  // General prompts beside a step's harmful rows; 0: as many as batch_size.
  int64_t general_batch_size = 32;
  double kl_weight = 6.0;
  uint64_t seed = 0;
  int64_t max_row_tokens = 1024;
  // Length of the base's own answers to general prompts and of those that guard rows hold. With
  // fewer tokens the vector slips into harm behind them; more cost time and spill over as much
  // (docs/research.md).
  int64_t general_answer_tokens = 12;
  // Guard rows beside every kGuardedRows of a customer's rows, and what their refusals say; without
  // refusals they hold the base's answers.
  int64_t guard_rows = 1;
  std::vector<std::string> guard_refusals;
  // The version that the trained vector is added to; empty: none. For the digest alone.
  std::string added_to;
  // Of the harmful rows, as the provider states them; empty: to be taken from the suite.
  std::vector<std::string> categories;

  // Of all fields, in a fixed spelling; categories that are not stated leave it as it was before
  // they could be.
  std::string Digest() const;
};

// Rows of the base's own greedy answers, for the KL term: prompt, answer, and the stop id where the
// answer ended. `progress` as in GenerateOptions.
// Errors: those of Generate.
absl::StatusOr<std::vector<TrainingRow>> AnswerByBase(const DecoderModel& base,
                                                      std::span<const std::vector<int32_t>> prompts,
                                                      const std::vector<int32_t>& stop_ids,
                                                      int64_t max_new_tokens,
                                                      std::function<bool(int64_t)> progress);

// What a trainer is to be made of, for its adapter to be the vector.
struct VectorTraining {
  TrainerOptions options;
  std::vector<TrainingStream> streams;
};

// With kl_weight 0 there is no KL term.
// Errors: INVALID_ARGUMENT when kl_weight is above 0 and there is no general row.
absl::StatusOr<VectorTraining> PlanVectorTraining(const DecoderModel& base,
                                                  const VectorRecipe& recipe,
                                                  std::vector<TrainingRow> harmful_rows,
                                                  std::vector<TrainingRow> general_rows);

// The trainer of that plan as it is. Errors: those of PlanVectorTraining and Trainer::Create.
absl::StatusOr<std::unique_ptr<Trainer>> CreateVectorTrainer(const DecoderModel& base,
                                                             const VectorRecipe& recipe,
                                                             std::vector<TrainingRow> harmful_rows,
                                                             std::vector<TrainingRow> general_rows,
                                                             Clock* clock);

// Mean over the rows' supervised tokens of KL(p_base || p_other), nats. Holds the logits of one row
// at a time.
absl::StatusOr<double> MeanKl(const DecoderModel& base, const DecoderModel& other,
                              std::span<const TrainingRow> rows);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_SECURITY_SECURITY_VECTOR_TRAINER_H_
