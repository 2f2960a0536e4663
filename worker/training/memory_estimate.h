// What a training run will need of memory, computed before its first step.
// Thread safety: pure functions.
#ifndef WARDTUNE_WORKER_TRAINING_MEMORY_ESTIMATE_H_
#define WARDTUNE_WORKER_TRAINING_MEMORY_ESTIMATE_H_

#include <algorithm>
#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "worker/model/adapter.h"
#include "worker/model/decoder.h"
#include "worker/training/micro_batch_plan.h"

namespace wardtune {

// Bytes on the model's device beyond the weights, which are loaded already.
struct MemoryEstimate {
  int64_t activations = 0;  // kept from the forward to the backward pass
  int64_t logits = 0;       // one chunk of the head, and of the teacher's where there is one
  int64_t teacher = 0;      // the base's last states
  int64_t adapter = 0;      // factors, gradients, AdamW's moments
  int64_t workspace = 0;    // what lives inside one layer's passes
  int64_t fixed = 0;        // MemoryQuestion::fixed_bytes
  // What is held between steps, where activations, logits and workspace are not: a copy of weights
  // that is checked, or the bytes of a checkpoint.
  int64_t between_steps = 0;
  int64_t slack = 0;  // of the allocator and the GEMM library: a tenth, and some a lane

  int64_t total() const {
    return std::max(activations + logits + workspace, between_steps) + teacher + adapter + fixed +
           slack;
  }
};

struct MemoryQuestion {
  LoraSpec lora;
  // Of an adapter that acts beside the trained one (TrainingStream::frozen).
  std::optional<LoraSpec> frozen;
  // Most tokens that go through the model at once (TokensAtOnce).
  int64_t tokens = 0;
  // Most tokens in one micro-batch that a loss is taken on.
  int64_t supervised_tokens = 0;
  // Supervised tokens of all rows that are held to the base, whose states there are kept; with
  // Objective::kKlToBase its logits live beside the model's.
  int64_t teacher_tokens = 0;
  // Adapters that are held beside the trained one: the start, results of validation.
  int64_t adapters_held = 0;
  // What the run needs besides, whatever its micro-batch.
  int64_t fixed_bytes = 0;
  // Most of what else is held between steps, beside the bytes of a checkpoint.
  int64_t between_steps_bytes = 0;
  bool recompute_activations = false;
  // Micro-batches that run side by side (micro_batch_plan.h); `tokens` are those of all together.
  int64_t lanes = 1;
};

MemoryEstimate EstimateTrainingMemory(const ModelConfig& config, ComputeType type,
                                      const MemoryQuestion& question);

struct MicroBatchChoice {
  int64_t tokens = 0;
  int64_t bytes = 0;  // the estimate for it
  bool recompute_activations = false;
};

// The largest micro-batch, in tokens and at most `wanted`, whose estimate fits into `free_bytes`;
// the longest row at least. Activations are recomputed, which takes a third more time, only where
// not even that row fits without.
// Errors: RESOURCE_EXHAUSTED (IsOutOfMemory) saying what is needed and what there is, when they do
// not fit then.
absl::StatusOr<MicroBatchChoice> ChooseMicroBatch(const ModelConfig& config, ComputeType type,
                                                  MemoryQuestion question, int64_t wanted,
                                                  const RowLengths& rows, int64_t free_bytes);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_TRAINING_MEMORY_ESTIMATE_H_
