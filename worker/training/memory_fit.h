// Fits a run into the memory that there is, before its first step.
// Thread safety: re-entrant.
#ifndef WARDTUNE_WORKER_TRAINING_MEMORY_FIT_H_
#define WARDTUNE_WORKER_TRAINING_MEMORY_FIT_H_

#include <cstdint>
#include <optional>
#include <span>

#include "absl/status/statusor.h"
#include "worker/training/trainer.h"
#include "worker/training/training_row.h"

namespace wardtune {

// Bytes that a run on `model` may take, or nothing where that cannot be told: where the system does
// not say, and on other devices, which say themselves when their memory runs out.
std::optional<int64_t> FreeMemoryFor(const DecoderModel& model);

enum class TrainedPart {
  kLora,     // micro-batches run side by side, one for each thread
  kWeights,  // full-parameter training, which runs one after the other on all threads
};

// Lowers micro_batch_tokens, and sets recompute_activations where nothing else does, so that
// training `streams` takes at most `free_bytes` besides the models that they hold. Returns the
// bytes that it will take. A saved state resumes with the micro-batch that it
// names, which must be no larger (Trainer::RestoreState), but where steps meet those of other
// trainers.
// Errors: RESOURCE_EXHAUSTED (IsOutOfMemory), saying what is needed and what there is, when it
// cannot; `options` are unchanged then. REQUIRES: at least one stream.
absl::StatusOr<int64_t> FitIntoMemory(std::span<const TrainingStream> streams, TrainedPart trained,
                                      int64_t free_bytes, TrainerOptions& options);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_TRAINING_MEMORY_FIT_H_
