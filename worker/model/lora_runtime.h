// LoRA factors in the shape of the arithmetic: per fused matrix one A and one B, on the model's
// device and in its compute type.
//
// The factors of all projections of a fused matrix, and of all active adapters, are stacked: A is
// [R, in], and B [out, R] is block diagonal with the scale multiplied in, so that any number of
// adapters costs one small product with A a matrix, and one with B a block.
// Thread safety: plain data and pure functions.
#ifndef WARDTUNE_WORKER_MODEL_LORA_RUNTIME_H_
#define WARDTUNE_WORKER_MODEL_LORA_RUNTIME_H_

#include <ATen/core/Tensor.h>

#include <array>
#include <span>
#include <vector>

#include "worker/model/decoder.h"
#include "worker/model/model_weights.h"

namespace wardtune {

// One adapted projection inside a FusedLora.
struct LoraBlock {
  Projection projection;
  int64_t out_begin = 0;  // rows of B
  int64_t out_rows = 0;
  int64_t rank_begin = 0;  // rows of A, columns of B
  int64_t rank = 0;
};

struct FusedLora {
  at::Tensor a;                   // [R, in]; undefined when no adapter touches the matrix
  at::Tensor b;                   // [out, R], zero outside the blocks
  std::vector<LoraBlock> blocks;  // in the order of their ranks

  bool defined() const { return a.defined(); }
  at::Tensor BlockOfB(const LoraBlock& block) const {
    return b.narrow(0, block.out_begin, block.out_rows).narrow(1, block.rank_begin, block.rank);
  }
};

struct LoraRuntime {
  // layers[l][static_cast<int>(FusedLinear)]; empty when no adapter is active.
  std::vector<std::array<FusedLora, kFusedLinearCount>> layers;

  const FusedLora* at(size_t layer, FusedLinear which) const {
    if (layers.empty()) return nullptr;
    const FusedLora& lora = layers[layer][static_cast<int>(which)];
    return lora.defined() ? &lora : nullptr;
  }
};

// The adapters that act on some rows of a packed stream, for example those of one job among
// several.
struct LoraSegment {
  int64_t begin = 0;  // rows [begin, end)
  int64_t end = 0;
  const LoraRuntime* lora = nullptr;
};
// Disjoint, rising; rows outside every segment run on the plain weights.
using LoraSegments = std::span<const LoraSegment>;

// The blocks of one adapter of this spec in a fused matrix, rank_begin counted from `rank_begin`.
std::vector<LoraBlock> BlocksOf(const ModelConfig& config, const LoraSpec& spec, FusedLinear which,
                                int64_t rank_begin = 0);

// Errors: INVALID_ARGUMENT when the adapter's layers or shapes are not the model's.
absl::Status CheckAdapterFits(const LoraAdapter& adapter, const ModelConfig& config);

// Copies the adapters. Errors: INVALID_ARGUMENT when one does not fit the model.
absl::StatusOr<LoraRuntime> MakeLoraRuntime(const ModelWeights& weights, ActiveAdapters adapters);

// The factors of the first of the adapters that `stacked` was made of, whose spec is `first`: parts
// of its tensors, not copies.
LoraRuntime FactorsOfFirst(const LoraRuntime& stacked, const ModelConfig& config,
                           const LoraSpec& first);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_LORA_RUNTIME_H_
