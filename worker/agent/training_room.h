// Room for a training run beside the others of this worker.
#ifndef WARDTUNE_WORKER_AGENT_TRAINING_ROOM_H_
#define WARDTUNE_WORKER_AGENT_TRAINING_ROOM_H_

#include <span>

#include "absl/status/statusor.h"
#include "worker/agent/attempt.h"
#include "worker/agent/job_environment.h"
#include "worker/training/memory_fit.h"

namespace wardtune {

// Fits the run into the memory that others have not been promised, and lets its steps meet theirs
// where there may be others. What does not fit beside the others waits until one of them ends. The
// share is to be held until the trainer is gone.
// Errors: those of FitIntoMemory when nothing else trains; CANCELLED.
// REQUIRES: the caller has the turn, and has it again afterwards.
absl::StatusOr<MemoryShares::Share> MakeRoomForTraining(JobEnvironment& environment,
                                                        Attempt& attempt,
                                                        std::span<const TrainingStream> streams,
                                                        TrainedPart trained,
                                                        TrainerOptions& options);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_AGENT_TRAINING_ROOM_H_
