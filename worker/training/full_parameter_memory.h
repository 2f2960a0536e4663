// What full-parameter training needs besides a model's weights and a step's activations.
// Thread safety: pure functions.
#ifndef WARDTUNE_WORKER_TRAINING_FULL_PARAMETER_MEMORY_H_
#define WARDTUNE_WORKER_TRAINING_FULL_PARAMETER_MEMORY_H_

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "worker/model/decoder.h"
#include "worker/training/early_stopping.h"
#include "worker/training/training_row.h"

namespace wardtune {

// Bytes of one copy of the projections' weights in the compute type.
int64_t ProjectionBytes(const ModelConfig& config, ComputeType type);

// Models that rows run on, each with a working copy, and results that validation keeps.
int64_t FullParameterCopies(std::span<const TrainingStream> streams,
                            const ValidationOptions& validation);

// Bytes for the delta, its gradient and AdamW's two moments in fp32, and for a working copy of the
// projections in the compute type for each of `copies`.
int64_t FullParameterBytes(const ModelConfig& config, ComputeType type, int64_t copies);

// RESOURCE_EXHAUSTED, saying what is needed and what there is, when they do not fit into
// `free_bytes`.
absl::Status CheckFullParameterMemory(const ModelConfig& config, ComputeType type, int64_t copies,
                                      int64_t free_bytes);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_TRAINING_FULL_PARAMETER_MEMORY_H_
