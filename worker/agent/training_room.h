// Room for a training run beside the others of this worker.
#ifndef WARDTUNE_WORKER_AGENT_TRAINING_ROOM_H_
#define WARDTUNE_WORKER_AGENT_TRAINING_ROOM_H_

#include <span>

#include "absl/status/statusor.h"
#include "worker/agent/attempt.h"
#include "worker/agent/job_environment.h"
#include "worker/training/memory_fit.h"

namespace wardtune {

// Fits the run into the memory that is left beside the others, and lets its steps meet theirs where
// there may be others. A run that does not fit waits for its neighbours to end, those that ask
// later behind it. On devices that do not tell their free memory nothing is promised or awaited.
// The share is to be held while the run takes memory.
// Errors: those of FitIntoMemory where no neighbour is left but such as wait themselves; CANCELLED.
// REQUIRES: the caller has the turn, and has it again afterwards.
absl::StatusOr<MemoryShares::Share> MakeRoomForTraining(JobEnvironment& environment,
                                                        Attempt& attempt,
                                                        std::span<const TrainingStream> streams,
                                                        TrainedPart trained,
                                                        TrainerOptions& options);

// What the trainer, made just now, holds is no longer to come.
void CountHeld(MemoryShares::Share& share, const DecoderModel& model);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_AGENT_TRAINING_ROOM_H_
