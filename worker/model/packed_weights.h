// A second copy of a model's matrices, laid out for decoding steps (bf16_gemm.h). As large as the
// first; whoever generates makes it, and drops it afterwards.
// Thread safety: immutable once built.
#ifndef WARDTUNE_WORKER_MODEL_PACKED_WEIGHTS_H_
#define WARDTUNE_WORKER_MODEL_PACKED_WEIGHTS_H_

#include <ATen/core/Tensor.h>

#include <array>
#include <optional>
#include <vector>

#include "worker/model/bf16_gemm.h"
#include "worker/model/model_weights.h"

namespace wardtune {

class PackedWeights {
 public:
  // Nothing where device, compute type or CPU have no such kernel. Keeps no reference to `weights`.
  // Throws what LibTorch throws.
  static std::optional<PackedWeights> Of(const ModelWeights& weights);

  // x W^T of a layer's matrix, without bias; x is [rows, in] and contiguous.
  at::Tensor Multiply(int64_t layer, FusedLinear which, const at::Tensor& x) const;
  // x W^T of the output head.
  at::Tensor MultiplyHead(const at::Tensor& x) const;

 private:
  struct Matrix {
    at::Tensor packed;
    int64_t rows = 0;  // of W
    int64_t columns = 0;
  };
  explicit PackedWeights(const Bf16Gemm* gemm) : gemm_(gemm) {}
  Matrix Pack(const at::Tensor& weight) const;
  at::Tensor Multiply(const Matrix& matrix, const at::Tensor& x) const;

  const Bf16Gemm* gemm_;
  std::vector<std::array<Matrix, kFusedLinearCount>> layers_;
  Matrix head_;
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_PACKED_WEIGHTS_H_
