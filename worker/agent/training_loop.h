// Runs a trainer to its end under a lease: checkpoints, progress, cancelling and shutdown are the
// same for customers' jobs and security vectors.
// Thread safety: belongs to the attempt's thread.
#ifndef WARDTUNE_WORKER_AGENT_TRAINING_LOOP_H_
#define WARDTUNE_WORKER_AGENT_TRAINING_LOOP_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/agent/attempt.h"
#include "worker/agent/compute_turns.h"
#include "worker/training/full_parameter_trainer.h"
#include "worker/training/trainer.h"

namespace wardtune {

// A checkpoint is uploaded when either has passed since the last one. After a slow upload training
// goes on for nine times as long, ten minutes at most, so that uploads do not crowd it out.
struct CheckpointPolicy {
  int64_t every_steps = 50;
  absl::Duration every = absl::Minutes(1);
};

struct TrainingHooks {
  // Called before the first step and before every checkpoint; an error ends the attempt and nothing
  // is uploaded. May be empty.
  std::function<absl::Status()> check;
  // Turns the trainer's state into the bytes to upload, and back. May be empty.
  std::function<absl::StatusOr<std::string>(std::string)> seal;
  std::function<absl::StatusOr<std::string>(std::string)> open;
};

// Goes on from the lease's checkpoint where there is a usable one; a damaged one costs only time,
// as the same is learned from the start. When the process is told to stop, the step is
// finished and a checkpoint uploaded before CANCELLED is returned. Errors: ABORTED with the reason
// LOSS_NOT_FINITE; CANCELLED; those of the hooks, of the trainer and of uploads.
absl::Status RunTraining(Trainer& trainer, Attempt& attempt, const CheckpointPolicy& policy,
                         const TrainingHooks& hooks);
// Full-parameter training, which has no checkpoints: an attempt that breaks off starts anew.
// `check` is called before the first step and after the last. Between steps others have their
// turns.
absl::Status RunTraining(FullParameterTrainer& trainer, Attempt& attempt, ComputeTurns& turns,
                         const std::function<absl::Status()>& check);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_AGENT_TRAINING_LOOP_H_
