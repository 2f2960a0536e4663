// Runs the steps of trainers that share a process (TrainerOptions::step_runner).
#ifndef WARDTUNE_WORKER_TRAINING_STEP_RUNNER_H_
#define WARDTUNE_WORKER_TRAINING_STEP_RUNNER_H_

#include "absl/status/statusor.h"
#include "worker/training/trainer.h"

namespace wardtune {

class TrainingJob;

class StepRunner {
 public:
  virtual ~StepRunner() = default;

  // One step of `job`, which may go through the model together with steps of jobs of other threads;
  // blocks until it is done.
  // Errors: those of Trainer::Step. REQUIRES: the job is not done.
  virtual absl::StatusOr<StepReport> RunStep(TrainingJob& job) = 0;
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_TRAINING_STEP_RUNNER_H_
