// What a run is checked for before its first step, and what identifies it.
// Thread safety: pure functions.
#ifndef WARDTUNE_WORKER_TRAINING_TRAINER_VALIDATION_H_
#define WARDTUNE_WORKER_TRAINING_TRAINER_VALIDATION_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "worker/training/trainer.h"

namespace wardtune {

// Tokens of the row that a loss is taken on.
int64_t SupervisedTokens(const TrainingRow& row);

// The checks that Trainer::Create promises, but for those of ValidateLora.
absl::Status ValidateTraining(const TrainerOptions& options,
                              const std::vector<TrainingStream>& streams);
// Those of the adapter's spec and start.
absl::Status ValidateLora(const TrainerOptions& options, const ModelConfig& config);

// SHA-256 over all that decides the numbers of a run: options, rows, weights.
std::string TrainingFingerprint(const TrainerOptions& options,
                                const std::vector<TrainingStream>& streams);
// Digest of what is held out and when it is measured; empty without validation.
std::string ValidationFingerprint(const ValidationOptions& validation);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_TRAINING_TRAINER_VALIDATION_H_
