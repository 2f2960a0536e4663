// Keys and values of a group of sequences that are being generated.
// Thread safety: one cache belongs to one thread at a time.
#ifndef WARDTUNE_WORKER_MODEL_KV_CACHE_H_
#define WARDTUNE_WORKER_MODEL_KV_CACHE_H_

#include <ATen/core/Tensor.h>

#include <vector>

#include "worker/model/model_weights.h"

namespace wardtune {

class KvCache {
 public:
  // Room for `slots` sequences of at most `capacity` tokens.
  KvCache(const ModelWeights& weights, int64_t slots, int64_t capacity);

  // Stores the prompts of a packed stream: sequence i goes to slot i.
  void StorePrompts(int64_t layer, const at::Tensor& qkv, const std::vector<int64_t>& offsets);

  // Stores one sequence, the whole packed stream, as the beginning of every slot.
  void StorePrefix(int64_t layer, const at::Tensor& qkv);

  // New tokens: row i of qkv is the token at position lengths[i] of slots[i], whose tokens before
  // it are stored already or come in this call. Stores their keys and values and returns their
  // attention, [rows, heads * head_dim].
  at::Tensor Extend(int64_t layer, const at::Tensor& qkv, const std::vector<int64_t>& slots,
                    const std::vector<int64_t>& lengths);

 private:
  at::Tensor AttendOnCpu(int64_t layer, const at::Tensor& qkv, const std::vector<int64_t>& slots,
                         const std::vector<int64_t>& lengths_with_new) const;
  at::Tensor AttendGeneric(int64_t layer, const at::Tensor& qkv, const std::vector<int64_t>& slots,
                           const std::vector<int64_t>& lengths_with_new) const;

  const ModelConfig& config_;
  const int64_t capacity_;
  std::vector<at::Tensor> keys_;  // per layer [slots, kv_heads, capacity, head_dim]
  std::vector<at::Tensor> values_;
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_KV_CACHE_H_
