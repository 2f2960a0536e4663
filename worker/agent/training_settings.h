// The contract's recipes as the trainer's options.
// Thread safety: pure functions.
#ifndef WARDTUNE_WORKER_AGENT_TRAINING_SETTINGS_H_
#define WARDTUNE_WORKER_AGENT_TRAINING_SETTINGS_H_

#include "absl/status/statusor.h"
#include "wardtune/v1/fine_tuning_service.pb.h"
#include "wardtune/v1/security_vector_service.pb.h"
#include "worker/security/security_vector_trainer.h"
#include "worker/training/trainer.h"

namespace wardtune {

// Whether a job trains the weights themselves.
bool IsFullParameter(const v1::Hyperparameters& parameters);

// The documented default in every field that is not set, as the server fills it in.
v1::Hyperparameters WithDefaults(v1::Hyperparameters parameters);

// validation.rows stay empty, and validation.every_steps 0 where the job says "an epoch".
// REQUIRES: every field is set, as in a lease.
// Errors: INVALID_ARGUMENT for an unknown target module.
absl::StatusOr<TrainerOptions> ToTrainerOptions(const v1::Hyperparameters& parameters);

// Fields that are not set become the recipe's defaults.
VectorRecipe ToVectorRecipe(const v1::SecurityVectorRecipe& recipe);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_AGENT_TRAINING_SETTINGS_H_
