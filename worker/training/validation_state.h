// What a run with validation goes on from: kept adapters and counters around the trainer's own
// state, as one safetensors file.
// Thread safety: pure functions.
#ifndef WARDTUNE_WORKER_TRAINING_VALIDATION_STATE_H_
#define WARDTUNE_WORKER_TRAINING_VALIDATION_STATE_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "worker/model/model_config.h"
#include "worker/training/early_stopping.h"

namespace wardtune {

using AdapterStopping = EarlyStopping<AdapterAtStep>;

absl::StatusOr<std::string> WrapWithValidation(const AdapterStopping& validation,
                                               const std::string& trainer_state);

// Takes them up again and returns the trainer's state. `validation` is unchanged on error.
// Errors: INVALID_ARGUMENT when the bytes are damaged; FAILED_PRECONDITION when they come from
// other held-out rows or options.
absl::StatusOr<std::string> UnwrapValidation(std::string_view bytes, const ModelConfig& config,
                                             AdapterStopping& validation);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_TRAINING_VALIDATION_STATE_H_
