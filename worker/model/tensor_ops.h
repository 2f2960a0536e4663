// The decoder's non-GEMM arithmetic on tensors: the fused kernels of elementwise_kernels.h on CPU,
// plain ATen operations on every other device.
//
// All tensors are contiguous, fp32 or bf16; `rows` is the number of tokens.
// Thread safety: pure functions on their arguments.
#ifndef WARDTUNE_WORKER_MODEL_TENSOR_OPS_H_
#define WARDTUNE_WORKER_MODEL_TENSOR_OPS_H_

#include <ATen/core/Tensor.h>

#include <vector>

#include "worker/model/rope.h"

namespace wardtune {

struct NormResult {
  at::Tensor sum;      // x + delta; x itself without a delta
  at::Tensor y;        // sum * inv_rms * weight
  at::Tensor inv_rms;  // [rows], fp32
};
// RMSNorm of x + delta over the last dimension; delta may be undefined. x is [rows, h]. On the CPU
// the result's y is `y` where that is defined, which then must be like x.
NormResult AddRmsNorm(const at::Tensor& x, const at::Tensor& delta, const at::Tensor& weight,
                      double eps, at::Tensor y = {});
// dx += gradient of y with respect to x.
void AddRmsNormGradient(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                        const at::Tensor& inv_rms, at::Tensor& dx);

// Cosine and sine of every (token, frequency), [rows, head_dim / 2] fp32.
struct RopeTables {
  at::Tensor cos;
  at::Tensor sin;
};
RopeTables MakeRopeTables(const RopeFrequencies& rope, const at::Tensor& positions);
// Rotates the first `heads` heads of every row of x [rows, stride] in place; `inverse` undoes it,
// which is also its gradient.
void ApplyRope(at::Tensor& x, const RopeTables& tables, int64_t heads, int64_t head_dim,
               bool inverse);

// silu(gate) * up of gate_up [rows, 2h]. On the CPU the result is `act` where that is defined,
// which then must be [rows, h].
at::Tensor SwiGlu(const at::Tensor& gate_up, at::Tensor act = {});
// Overwrites gate_up with its gradient and d_act [rows, h] with the activation silu(gate) * up.
void SwiGluGradient(at::Tensor& gate_up, at::Tensor& d_act);

// loss[i] = -log softmax(logits[i])[targets[i]], fp32 [rows]. Overwrites logits with
// weight * d loss / d logits.
at::Tensor CrossEntropyInPlace(at::Tensor& logits, const at::Tensor& targets, double weight);
// loss[i] = KL(softmax(teacher[i]) || softmax(logits[i])); overwrites logits as above.
at::Tensor KlDivergenceInPlace(at::Tensor& logits, const at::Tensor& teacher, double weight);

// Places, ids or positions as an int64 tensor on a device.
at::Tensor IndexTensor(const std::vector<int64_t>& values, at::Device device);

// The place of the largest number of every row of x [rows, n].
std::vector<int64_t> ArgMaxRows(const at::Tensor& x);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_TENSOR_OPS_H_
