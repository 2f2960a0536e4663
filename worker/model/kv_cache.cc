#include "worker/model/kv_cache.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>

#include "worker/model/decode_attention.h"
#include "worker/model/lanes.h"
#include "worker/model/tensor_ops.h"
#include "worker/model/torch_ops.h"

namespace wardtune {
namespace {

// Places a thread takes at least.
constexpr int64_t kPlacesPerThread = 32;

// The part of every row from `column` on, a key or a value, to its place.
void StoreOnCpu(const at::Tensor& qkv, int64_t column, std::span<const CachePlace> places,
                const ModelConfig& config, const at::Tensor& cache) {
  const int64_t head_bytes = config.head_dim * cache.element_size();
  const auto* const from = static_cast<const char*>(qkv.const_data_ptr());
  auto* const to = static_cast<char*>(cache.data_ptr());
  const auto store = [&](int64_t begin, int64_t end) {
    for (const CachePlace& place : places.subspan(begin, end - begin)) {
      const char* row = from + (place.row * qkv.stride(0) + column) * cache.element_size();
      for (int64_t head = 0; head < config.num_kv_heads; ++head, row += head_bytes) {
        const int64_t line = (place.slot * config.num_kv_heads + head) * cache.size(2);
        std::memcpy(to + (line + place.position) * head_bytes, row, head_bytes);
      }
    }
  };
  at::parallel_for(0, static_cast<int64_t>(places.size()), kPlacesPerThread, store);
}

template <typename T>
auto DecodeKernel(int64_t head_dim) {
  if constexpr (std::is_same_v<T, Bf16Bits>) {
    if (HasBf16DecodeAttention(head_dim)) return &Bf16DecodeAttention;
  }
  return BestCpuKernels().of<T>().decode_attention;
}

}  // namespace

KvCache::KvCache(const ModelWeights& weights, int64_t slots, int64_t capacity)
    : config_(weights.config), capacity_(capacity) {
  const auto options = at::TensorOptions(weights.device).dtype(weights.dtype);
  for (int64_t l = 0; l < config_.num_layers; ++l) {
    const std::vector<int64_t> shape = {slots, config_.num_kv_heads, capacity, config_.head_dim};
    // Off the CPU hidden tokens are multiplied by zero, which a not-a-number would survive.
    const auto make = [&] {
      return weights.device.is_cpu() ? at::empty(shape, options) : at::zeros(shape, options);
    };
    keys_.push_back(make());
    values_.push_back(make());
  }
}

void KvCache::Store(int64_t layer, const at::Tensor& qkv, std::span<const CachePlace> places) {
  const int64_t q = config_.query_size();
  const int64_t kv = config_.kv_size();
  if (qkv.is_cpu()) {
    StoreOnCpu(qkv, q, places, config_, keys_[layer]);
    StoreOnCpu(qkv, q + kv, places, config_, values_[layer]);
    return;
  }
  std::vector<int64_t> rows, slots, positions;
  for (const CachePlace& place : places) {
    rows.push_back(place.row);
    slots.push_back(place.slot);
    positions.push_back(place.position);
  }
  const at::Tensor row = IndexTensor(rows, qkv.device());
  const at::Tensor slot = IndexTensor(slots, qkv.device());
  const at::Tensor position = IndexTensor(positions, qkv.device());
  const auto store = [&](const at::Tensor& cache, int64_t column) {
    const at::Tensor values = qkv.narrow(1, column, kv).index_select(0, row);
    cache.transpose(1, 2).index_put_(
        {slot, position},
        values.view({static_cast<int64_t>(places.size()), config_.num_kv_heads, config_.head_dim}));
  };
  store(keys_[layer], q);
  store(values_[layer], q + kv);
}

void KvCache::ReadBeginningsFrom(std::vector<SharedBeginning> beginnings) {
  beginnings_ = std::move(beginnings);
}

at::Tensor KvCache::Extend(int64_t layer, const at::Tensor& qkv, const CacheRows& rows) {
  Store(layer, qkv, rows.places);
  return qkv.is_cpu() ? AttendOnCpu(layer, qkv, rows) : AttendGeneric(layer, qkv, rows);
}

at::Tensor KvCache::AttendOnCpu(int64_t layer, const at::Tensor& qkv, const CacheRows& rows) const {
  at::Tensor out = at::empty({qkv.size(0), config_.query_size()}, qkv.options());
  const auto run = [&]<typename T>(T) {
    DecodeAttentionArgs<T> args;
    args.query = static_cast<const T*>(qkv.data_ptr());
    args.query_stride = qkv.stride(0);
    args.keys = static_cast<const T*>(keys_[layer].data_ptr());
    args.values = static_cast<const T*>(values_[layer].data_ptr());
    args.slots = rows.slots.data();
    args.lengths = rows.lengths.data();
    args.beginnings = beginnings_.empty() ? nullptr : beginnings_.data();
    args.out = static_cast<T*>(out.data_ptr());
    args.capacity = capacity_;
    args.heads = config_.num_heads;
    args.kv_heads = config_.num_kv_heads;
    args.head_dim = config_.head_dim;
    args.window = config_.sliding_window;
    args.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(config_.head_dim)));
    const auto kernel = DecodeKernel<T>(config_.head_dim);
    SharePieces(qkv.size(0) * config_.num_kv_heads, [&] {
      return [&, scores = std::make_unique_for_overwrite<float[]>(kDecodeHeads * capacity_)](
                 int64_t begin, int64_t end, int64_t) { kernel(args, scores.get(), begin, end); };
    });
  };
  if (qkv.scalar_type() == at::kFloat) {
    run(float{});
  } else {
    run(Bf16Bits{});
  }
  return out;
}

at::Tensor KvCache::AttendGeneric(int64_t layer, const at::Tensor& qkv,
                                  const CacheRows& rows) const {
  const int64_t count = qkv.size(0);
  const int64_t group = config_.num_heads / config_.num_kv_heads;
  const int64_t longest = *std::max_element(rows.lengths.begin(), rows.lengths.end());
  const at::Tensor slot = IndexTensor(rows.slots, qkv.device());
  const auto cached = [&](const at::Tensor& cache) {
    return cache.narrow(2, 0, longest).index_select(0, slot).repeat_interleave(group, 1);
  };
  const at::Tensor query = qkv.narrow(1, 0, config_.query_size())
                               .reshape({count, config_.num_heads, 1, config_.head_dim});
  const at::Tensor lengths = IndexTensor(rows.lengths, qkv.device()).unsqueeze(1);
  const at::Tensor positions =
      at::arange(longest, at::TensorOptions(qkv.device()).dtype(at::kLong)).unsqueeze(0);
  at::Tensor visible = positions < lengths;
  if (config_.sliding_window > 0) {
    visible = visible.logical_and(positions >= lengths - config_.sliding_window);
  }
  return at::scaled_dot_product_attention(query, cached(keys_[layer]), cached(values_[layer]),
                                          visible.view({count, 1, 1, longest}))
      .reshape({count, config_.query_size()});
}

}  // namespace wardtune
