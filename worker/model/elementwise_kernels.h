// The decoder's non-GEMM arithmetic on CPU rows, compiled once per instruction set and chosen at
// run time. Every kernel works on rows [begin, end) so that callers can split the rows between
// threads; all arithmetic is in fp32 whatever the storage type. Thread safety: pure functions on
// the rows that they are given.
#ifndef WARDTUNE_WORKER_MODEL_ELEMENTWISE_KERNELS_H_
#define WARDTUNE_WORKER_MODEL_ELEMENTWISE_KERNELS_H_

#include <cstdint>

namespace wardtune {

// The bits of a bfloat16: the upper half of an IEEE fp32.
struct Bf16Bits {
  uint16_t bits;
};

// The first `tokens` tokens can as well be read from `slot`.
struct SharedBeginning {
  int64_t slot = 0;
  int64_t tokens = 0;
};

// New tokens against the cached keys and values.
template <typename T>
struct DecodeAttentionArgs {
  const T* query = nullptr;  // [batch, row_stride], heads * head_dim used
  int64_t query_stride = 0;
  const T* keys = nullptr;  // [slots, kv_heads, capacity, head_dim]
  const T* values = nullptr;
  const int64_t* slots = nullptr;    // [batch] where each sequence's cache lies
  const int64_t* lengths = nullptr;  // [batch] cached tokens, the new one included
  // [slots] or null: tokens that may as well be read from another slot, where more sequences find
  // them in the CPU's caches.
  const SharedBeginning* beginnings = nullptr;
  T* out = nullptr;  // [batch, heads * head_dim]
  int64_t capacity = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t window = 0;  // 0: all cached tokens
  float scale = 0.0f;
};

// T is float or Bf16Bits. `h` is the row length.
template <typename T>
struct ElementwiseKernels {
  // sum = x + delta, or x itself where delta is null (sum is then not written);
  // inv_rms = 1/sqrt(mean(sum^2) + eps); y = sum * inv_rms * weight. sum may be x.
  void (*add_rms_norm)(const T* x, const T* delta, const float* weight, float eps, T* sum, T* y,
                       float* inv_rms, int64_t begin, int64_t end, int64_t h);
  // dx += the gradient of y = x * inv_rms * weight with respect to x.
  void (*rms_norm_backward)(const T* dy, const T* x, const float* weight, const float* inv_rms,
                            T* dx, int64_t begin, int64_t end, int64_t h);
  // Rotates the first `heads` heads of each row of x (row length `stride`) by the angles whose
  // cosine and sine are cos, sin [rows, head_dim / 2]; direction -1 rotates back (the gradient).
  void (*rope)(T* x, int64_t stride, const float* cos, const float* sin, float direction,
               int64_t heads, int64_t head_dim, int64_t begin, int64_t end);
  // act = silu(gate) * up, with gate_up = [rows, 2h] holding gate in front of up.
  void (*swiglu)(const T* gate_up, T* act, int64_t begin, int64_t end, int64_t h);
  // Overwrites gate_up with its gradient and d_act with act, which the LoRA gradient needs.
  void (*swiglu_backward)(T* gate_up, T* d_act, int64_t begin, int64_t end, int64_t h);
  // loss[i] = -log softmax(logits[i])[target[i]]; overwrites logits with weight * d loss / d
  // logits.
  void (*cross_entropy)(T* logits, const int64_t* target, float weight, float* loss, int64_t begin,
                        int64_t end, int64_t h);
  // loss[i] = KL(softmax(teacher) || softmax(logits)); overwrites logits as above.
  void (*kl_divergence)(T* logits, const T* teacher, float weight, float* loss, int64_t begin,
                        int64_t end, int64_t h);
  // best[i] = the place of row i's largest number, the first of several; 0 in a row of NaN.
  void (*arg_max)(const T* x, int64_t* best, int64_t begin, int64_t end, int64_t h);
  // Items are (sequence, kv head) pairs, numbered sequence-major. scores: scratch of
  // capacity floats for the calling thread.
  void (*decode_attention)(const DecodeAttentionArgs<T>& args, float* scores, int64_t begin,
                           int64_t end);
};

// One AdamW step over n parameters; bias1 = 1 - beta1^t, bias2_sqrt = sqrt(1 - beta2^t).
struct AdamWStep {
  float learning_rate, beta1, beta2, epsilon, decay, bias1, bias2_sqrt, grad_scale;
};
using AdamWKernel = void (*)(const AdamWStep& step, float* param, const float* grad, float* m,
                             float* v, int64_t begin, int64_t end);

struct CpuKernels {
  const char* instruction_set;
  ElementwiseKernels<float> f32;
  ElementwiseKernels<Bf16Bits> bf16;
  AdamWKernel adamw;

  template <typename T>
  const ElementwiseKernels<T>& of() const {
    if constexpr (sizeof(T) == 4) {
      return f32;
    } else {
      return bf16;
    }
  }
};

// The variants; on other architectures than x86-64 all three are the baseline.
const CpuKernels& BaselineKernels();
const CpuKernels& Avx2Kernels();
const CpuKernels& Avx512Kernels();

// The best variant that this CPU runs.
const CpuKernels& BestCpuKernels();

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_ELEMENTWISE_KERNELS_H_
