// Causal grouped-query attention over a packed stream: sequences lie one behind the other without
// padding, and no token sees another sequence.
// Thread safety: pure functions on their arguments.
#ifndef WARDTUNE_WORKER_MODEL_PACKED_ATTENTION_H_
#define WARDTUNE_WORKER_MODEL_PACKED_ATTENTION_H_

#include <ATen/core/Tensor.h>

#include <vector>

#include "worker/model/model_config.h"
#include "worker/model/packed_tokens.h"

namespace wardtune {

struct AttentionResult {
  at::Tensor out;  // [rows, heads * head_dim]
  // What the backward pass needs, of whole sequences. Our own kernels leave one tensor, the
  // log-sum-exp [heads, rows].
  // LibTorch's leave one per sequence, [1, heads, length]; undefined entries are recomputed.
  std::vector<at::Tensor> logsumexp;
};

// qkv [rows, (heads + 2 kv_heads) * head_dim], rotated; sequence i is rows
// offsets[i]..offsets[i+1].
AttentionResult PackedAttention(const at::Tensor& qkv, const std::vector<int64_t>& offsets,
                                const ModelConfig& config);

// The same where sequences may share rows.
AttentionResult PackedAttention(const at::Tensor& qkv, const PackedTokens& tokens,
                                const ModelConfig& config);

// The gradient of qkv, given that of out.
at::Tensor PackedAttentionGradient(const at::Tensor& d_out, const at::Tensor& qkv,
                                   const AttentionResult& forward,
                                   const std::vector<int64_t>& offsets, const ModelConfig& config);
at::Tensor PackedAttentionGradient(const at::Tensor& d_out, const at::Tensor& qkv,
                                   const AttentionResult& forward, const PackedTokens& tokens,
                                   const ModelConfig& config);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_PACKED_ATTENTION_H_
