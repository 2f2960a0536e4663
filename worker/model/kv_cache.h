// Keys and values of a group of sequences that are being generated.
// Thread safety: one cache belongs to one thread at a time.
#ifndef WARDTUNE_WORKER_MODEL_KV_CACHE_H_
#define WARDTUNE_WORKER_MODEL_KV_CACHE_H_

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

#include "worker/model/elementwise_kernels.h"
#include "worker/model/model_weights.h"

namespace wardtune {

// Where a row's key and value are stored. A row has several places where several sequences begin
// alike.
struct CachePlace {
  int64_t row;
  int64_t slot;
  int64_t position;
};

// New tokens, one a row.
struct CacheRows {
  std::vector<int64_t> slots;    // of each row: whose tokens it sees
  std::vector<int64_t> lengths;  // how many of them, its own included
  std::vector<CachePlace> places;
};

// qkv is always [rows, query_size + 2 kv_size], contiguous, in the weights' type and on their
// device. Throws what LibTorch throws.
class KvCache {
 public:
  // Room for `slots` sequences of at most `capacity` tokens. Keeps a reference to the weights'
  // config.
  KvCache(const ModelWeights& weights, int64_t slots, int64_t capacity);

  // Stores the keys and values of rows of qkv. The places are distinct.
  void Store(int64_t layer, const at::Tensor& qkv, std::span<const CachePlace> places);

  // From now on the first `tokens` tokens of slot i may be read from slot beginnings[i].slot, which
  // holds the same beside slot i itself: less of the cache has to come from memory. One entry per
  // slot.
  void ReadBeginningsFrom(std::vector<SharedBeginning> beginnings);

  // Stores `rows` and returns their attention, [rows, heads * head_dim]. What a row sees was stored
  // before or comes in this call.
  at::Tensor Extend(int64_t layer, const at::Tensor& qkv, const CacheRows& rows);

 private:
  at::Tensor AttendOnCpu(int64_t layer, const at::Tensor& qkv, const CacheRows& rows) const;
  at::Tensor AttendGeneric(int64_t layer, const at::Tensor& qkv, const CacheRows& rows) const;

  const ModelConfig& config_;
  const int64_t capacity_;
  std::vector<at::Tensor> keys_;  // per layer [slots, kv_heads, capacity, head_dim]
  std::vector<at::Tensor> values_;
  std::vector<SharedBeginning> beginnings_;  // empty: none
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_KV_CACHE_H_
