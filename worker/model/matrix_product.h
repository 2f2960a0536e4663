// Matrix products of the engine: of our own in bf16 where the CPU multiplies it, by tiles or
// vectors (bf16_gemm.h), by LibTorch elsewhere.
//
// All factors have the same type, fp32 or bf16. Products in bf16 accumulate in fp32. Factors may be
// parts of larger matrices; their rows are contiguous.
// Thread safety: re-entrant. Within a lane (lanes.h) a product stays on the lane's thread,
// otherwise it uses all. Errors: throws what LibTorch throws.
#ifndef WARDTUNE_WORKER_MODEL_MATRIX_PRODUCT_H_
#define WARDTUNE_WORKER_MODEL_MATRIX_PRODUCT_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

namespace wardtune {

// A product of low rank, what LoRA adds to some rows and columns of a layer's result. It is added
// before the result is rounded and goes to memory.
struct LowRankPart {
  int64_t row = 0;     // of the result, where it begins
  int64_t column = 0;  // and where
  at::Tensor left;     // [rows, R]
  at::Tensor right;    // as the product's w: [columns, R] or [R, columns]
};

// x [n, k] w [m, k]^T + parts -> [n, m]: a linear layer forward.
at::Tensor TimesTransposed(const at::Tensor& x, const at::Tensor& w,
                           std::span<const LowRankPart> parts = {});
// The parts alone: y += left right^T, each in its place.
void AddTimesTransposed(at::Tensor& y, std::span<const LowRankPart> parts);

// x [n, m] w [m, k] + parts -> [n, k]: a linear layer backward.
at::Tensor Times(const at::Tensor& x, const at::Tensor& w, std::span<const LowRankPart> parts = {});
// y = x w
void TimesInto(at::Tensor& y, const at::Tensor& x, const at::Tensor& w);

// sum [m, k] += x [n, m]^T y [n, k]: a gradient. `sum` is fp32.
void AddTransposedTimes(at::Tensor& sum, const at::Tensor& x, const at::Tensor& y);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_MATRIX_PRODUCT_H_
