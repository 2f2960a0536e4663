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

namespace wardtune {

// x [n, k] w [m, k]^T -> [n, m]: a linear layer forward.
at::Tensor TimesTransposed(const at::Tensor& x, const at::Tensor& w);
// y += x w^T
void AddTimesTransposed(at::Tensor& y, const at::Tensor& x, const at::Tensor& w);

// x [n, m] w [m, k] -> [n, k]: a linear layer backward.
at::Tensor Times(const at::Tensor& x, const at::Tensor& w);
// y += x w
void AddTimes(at::Tensor& y, const at::Tensor& x, const at::Tensor& w);

// sum [m, k] += x [n, m]^T y [n, k]: a gradient. `sum` is fp32 and contiguous.
void AddTransposedTimes(at::Tensor& sum, const at::Tensor& x, const at::Tensor& y);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_MATRIX_PRODUCT_H_
