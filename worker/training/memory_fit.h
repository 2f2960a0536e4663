// Fits a run into the memory that there is, before its first step.
// Thread safety: pure function.
#ifndef WARDTUNE_WORKER_TRAINING_MEMORY_FIT_H_
#define WARDTUNE_WORKER_TRAINING_MEMORY_FIT_H_

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "worker/training/trainer.h"
#include "worker/training/training_row.h"

namespace wardtune {

enum class TrainedPart {
  kLora,     // micro-batches run side by side, one for each thread
  kWeights,  // full-parameter training, which runs one after the other on all threads
};

// Lowers micro_batch_tokens, and sets recompute_activations where nothing else does, so that
// training `streams` takes at most `free_bytes` besides the models that they hold.
// Errors: RESOURCE_EXHAUSTED (IsOutOfMemory), saying what is needed and what there is, when it
// cannot; `options` are unchanged then.
absl::Status FitIntoMemory(std::span<const TrainingStream> streams, TrainedPart trained,
                           int64_t free_bytes, TrainerOptions& options);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_TRAINING_MEMORY_FIT_H_
