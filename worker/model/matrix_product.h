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

// Whether products of x are our own: then a term of low rank costs little beside a product, and is
// added before the result is rounded. Elsewhere it is a product of its own, rounded by itself.
bool HasOwnProducts(const at::Tensor& x);

// A product of low rank, what LoRA adds to some rows and columns of a layer's result.
struct LowRankTerm {
  int64_t row = 0;     // the first of the result
  int64_t column = 0;  // the first of the result
  at::Tensor left;     // [rows, R]
  at::Tensor right;    // as the product's w: [columns, R] or [R, columns]
};

// x [n, k] w [m, k]^T + terms -> [n, m]: a linear layer forward. The result is `y` where that is
// defined, which then must be of its shape and type and overlap no factor.
at::Tensor TimesTransposed(const at::Tensor& x, const at::Tensor& w,
                           std::span<const LowRankTerm> terms = {}, at::Tensor y = {});
// The terms alone: y += left right^T, each in its place.
void AddTimesTransposed(at::Tensor& y, std::span<const LowRankTerm> terms);

// x [n, m] w [m, k] + terms -> [n, k]: a linear layer backward.
at::Tensor Times(const at::Tensor& x, const at::Tensor& w, std::span<const LowRankTerm> terms = {});
// y = x w
void TimesInto(at::Tensor& y, const at::Tensor& x, const at::Tensor& w);

// sum [m, k] += x [n, m]^T y [n, k]: a gradient. `sum` is fp32, its rows contiguous.
void AddTransposedTimes(at::Tensor& sum, const at::Tensor& x, const at::Tensor& y);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_MATRIX_PRODUCT_H_
