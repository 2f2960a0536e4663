// Attention of new tokens against a bf16 cache, for CPUs with avx512_bf16. Query heads that share a
// key head read each key and value once.
// Thread safety: pure functions; calls for different items write different memory.
#ifndef WARDTUNE_WORKER_MODEL_DECODE_ATTENTION_H_
#define WARDTUNE_WORKER_MODEL_DECODE_ATTENTION_H_

#include <cstdint>

#include "worker/model/elementwise_kernels.h"

namespace wardtune {

// Query heads that are computed together; the scratch has room for as many.
inline constexpr int64_t kDecodeHeads = 4;

// True where Bf16DecodeAttention may be called.
bool HasBf16DecodeAttention(int64_t head_dim);

// As ElementwiseKernels::decode_attention; `scores` has room for kDecodeHeads * capacity numbers.
void Bf16DecodeAttention(const DecodeAttentionArgs<Bf16Bits>& args, float* scores, int64_t begin,
                         int64_t end);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_DECODE_ATTENTION_H_
