// One optimizer step of several jobs whose rows go through the model together: the GEMMs with the
// shared weights run once over everybody's rows, the low-rank terms on each job's own.
// Thread safety: the jobs belong to the calling thread.
#ifndef WARDTUNE_WORKER_TRAINING_JOINT_STEP_H_
#define WARDTUNE_WORKER_TRAINING_JOINT_STEP_H_

#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "worker/training/training_job.h"

namespace wardtune {

// One entry per job: its report, or why its run is over (the other jobs go on).
// Errors: those of LibTorch, RESOURCE_EXHAUSTED (IsOutOfMemory) when memory runs out; all jobs are
// then as they were before the step.
// REQUIRES: at least one job; no job is done; models of one shape.
absl::StatusOr<std::vector<absl::StatusOr<StepReport>>> RunJointStep(
    std::span<TrainingJob* const> jobs, Clock& clock);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_TRAINING_JOINT_STEP_H_
