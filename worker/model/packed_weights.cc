#include "worker/model/packed_weights.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "worker/model/bf16_gemm.h"
#include "worker/model/lanes.h"
#include "worker/model/torch_ops.h"

namespace wardtune {
namespace {

const uint16_t* ConstBits(const at::Tensor& tensor) {
  return static_cast<const uint16_t*>(tensor.const_data_ptr());
}

void MultiplyOnAllThreads(const Bf16Gemm& gemm, const PackedProduct& product) {
  SharePieces(GemmBlocks(product.n), [&] {
    const at::Tensor scratch =
        at::empty({static_cast<int64_t>(gemm.packed_scratch(product))}, at::kByte);
    gemm.lay_out_rows(product, scratch.data_ptr());
    return [&, scratch](int64_t begin, int64_t end, int64_t next) {
      gemm.multiply_packed(product, begin, end, next, scratch.data_ptr());
    };
  });
}

}  // namespace

std::optional<PackedWeights> PackedWeights::Of(const ModelWeights& weights) {
  const Bf16Gemm* const gemm = BestBf16Gemm();
  if (!weights.device.is_cpu() || weights.dtype != at::kBFloat16 || gemm == nullptr) {
    return std::nullopt;
  }
  PackedWeights packed(gemm);
  packed.layers_.resize(weights.layers.size());
  for (size_t l = 0; l < weights.layers.size(); ++l) {
    for (size_t i = 0; i < kFusedLinearCount; ++i) {
      packed.layers_[l][i] = packed.Pack(weights.layers[l].linear[i].weight);
    }
  }
  packed.head_ = packed.Pack(weights.head);
  return packed;
}

PackedWeights::Matrix PackedWeights::Pack(const at::Tensor& weight) const {
  const at::Tensor dense = weight.contiguous();
  Matrix matrix{at::empty({gemm_->packed_size(weight.size(0), weight.size(1))}, weight.options()),
                weight.size(0), weight.size(1)};
  auto* out = static_cast<uint16_t*>(matrix.packed.data_ptr());
  at::parallel_for(0, GemmBlocks(matrix.rows), 4, [&](int64_t begin, int64_t end) {
    gemm_->pack(ConstBits(dense), matrix.rows, matrix.columns, out, begin, end);
  });
  return matrix;
}

at::Tensor PackedWeights::Multiply(const Matrix& matrix, const at::Tensor& x) const {
  at::Tensor y = at::empty({x.size(0), matrix.rows}, x.options());
  for (int64_t row = 0; row < x.size(0); row += kMaxPackedRows) {
    const PackedProduct product = {.x = ConstBits(x) + row * matrix.columns,
                                   .packed = ConstBits(matrix.packed),
                                   .y = static_cast<uint16_t*>(y.data_ptr()) + row * matrix.rows,
                                   .rows = std::min(kMaxPackedRows, x.size(0) - row),
                                   .n = matrix.rows,
                                   .k = matrix.columns};
    MultiplyOnAllThreads(*gemm_, product);
  }
  return y;
}

at::Tensor PackedWeights::Multiply(int64_t layer, FusedLinear which, const at::Tensor& x) const {
  return Multiply(layers_[layer][static_cast<size_t>(which)], x.contiguous());
}

at::Tensor PackedWeights::MultiplyHead(const at::Tensor& x) const {
  return Multiply(head_, x.contiguous());
}

}  // namespace wardtune
