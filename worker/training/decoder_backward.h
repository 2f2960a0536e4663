// The backward pass of the decoder: gradients of LoRA's A and B and, on request, of the
// projections' weights and of the attention's outputs; nothing for what is frozen.
//
// Written out by hand instead of recorded by autograd: only dX and the low-rank terms are computed,
// activations are freed layer by layer, and cheap element-wise results are recomputed.
// Thread safety: pure functions on their arguments.
#ifndef WARDTUNE_WORKER_TRAINING_DECODER_BACKWARD_H_
#define WARDTUNE_WORKER_TRAINING_DECODER_BACKWARD_H_

#include <ATen/core/Tensor.h>

#include <vector>

#include "worker/model/decoder_forward.h"

namespace wardtune {

// Gradients of one adapter's factors in a fused matrix, fp32: with respect to A, and to B with the
// scale in it. Blocks of B have output rows of their own, so that all can begin in the first column
// and no zeros are held between them.
struct FactorGradients {
  at::Tensor a;  // [R, in]; undefined when no adapter touches the matrix
  at::Tensor b;  // [out, largest rank of a block]

  bool defined() const { return a.defined(); }
  at::Tensor BlockOfB(const LoraBlock& block) const {
    return b.narrow(0, block.out_begin, block.out_rows).narrow(1, 0, block.rank);
  }
};

struct LoraGradients {
  std::vector<std::array<FactorGradients, kFusedLinearCount>> layers;

  // Zeros for the factors of `lora`. REQUIRES: a single adapter's.
  static LoraGradients ZerosLike(const LoraRuntime& lora);
  // REQUIRES: `other` has the same shapes.
  void Add(const LoraGradients& other);
};

// Gradients of the projections' weights, fp32, in the layout and on the device of ModelWeights.
struct WeightGradients {
  std::vector<std::array<at::Tensor, kFusedLinearCount>> layers;  // [out, in]

  static WeightGradients ZerosLike(const ModelWeights& weights);
  void SetToZero();
};

// What the backward pass gives besides LoRA's gradients; both may be null.
struct BackwardResults {
  WeightGradients* weights = nullptr;  // the projections' gradients are added
  // One entry per layer: the gradient of what its attention adds to the residual stream,
  // [rows, hidden], a copy in the compute type.
  std::vector<at::Tensor>* attention = nullptr;
};

// Adds the gradients of one packed stream, each segment's to its own; gradients[i] belongs to
// segments[i]. `d_residual` [rows, hidden] is the gradient of what RunLayers returned, and is used
// up; `activations` are what it saved, and are freed on the way. A gradient of nothing but zeros,
// as of rows that are held and have not moved, is not run back at all, unless `more` wants what
// reaches the attention.
void BackwardLayers(const ModelWeights& weights, LoraSegments segments, const PackedTokens& tokens,
                    std::vector<LayerActivations>& activations, at::Tensor d_residual,
                    std::span<LoraGradients* const> gradients, const BackwardResults& more = {});

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_TRAINING_DECODER_BACKWARD_H_
