#include "worker/model/kv_cache.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <type_traits>

#include "worker/model/decode_attention.h"
#include "worker/model/elementwise_kernels.h"
#include "worker/model/lanes.h"
#include "worker/model/torch_ops.h"

namespace wardtune {
namespace {

at::Tensor IndexTensor(const std::vector<int64_t>& values, at::Device device) {
  return at::tensor(values, at::kLong).to(device);
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
    keys_.push_back(at::empty(shape, options));
    values_.push_back(at::empty(shape, options));
  }
}

void KvCache::StorePrompts(int64_t layer, const at::Tensor& qkv,
                           const std::vector<int64_t>& offsets) {
  const int64_t q = config_.query_size();
  const int64_t kv = config_.kv_size();
  for (size_t i = 0; i + 1 < offsets.size(); ++i) {
    const int64_t length = offsets[i + 1] - offsets[i];
    const at::Tensor rows = qkv.narrow(0, offsets[i], length);
    const std::vector<int64_t> shape = {length, config_.num_kv_heads, config_.head_dim};
    const auto store = [&](const at::Tensor& cache, int64_t column) {
      cache.select(0, i)
          .narrow(1, 0, length)
          .copy_(rows.narrow(1, column, kv).view(shape).transpose(0, 1));
    };
    store(keys_[layer], q);
    store(values_[layer], q + kv);
  }
}

void KvCache::StorePrefix(int64_t layer, const at::Tensor& qkv) {
  const int64_t q = config_.query_size();
  const int64_t kv = config_.kv_size();
  const std::vector<int64_t> shape = {1, qkv.size(0), config_.num_kv_heads, config_.head_dim};
  const auto store = [&](const at::Tensor& cache, int64_t column) {
    cache.narrow(2, 0, qkv.size(0)).copy_(qkv.narrow(1, column, kv).reshape(shape).transpose(1, 2));
  };
  store(keys_[layer], q);
  store(values_[layer], q + kv);
}

at::Tensor KvCache::Extend(int64_t layer, const at::Tensor& qkv, const std::vector<int64_t>& slots,
                           const std::vector<int64_t>& lengths) {
  const int64_t rows = qkv.size(0);
  const int64_t q = config_.query_size();
  const int64_t kv = config_.kv_size();
  const std::vector<int64_t> shape = {rows, config_.num_kv_heads, config_.head_dim};
  const at::Tensor slot = IndexTensor(slots, qkv.device());
  const at::Tensor position = IndexTensor(lengths, qkv.device());
  const auto store = [&](const at::Tensor& cache, int64_t column) {
    cache.transpose(1, 2).index_put_({slot, position}, qkv.narrow(1, column, kv).view(shape));
  };
  store(keys_[layer], q);
  store(values_[layer], q + kv);
  std::vector<int64_t> with_new = lengths;
  for (int64_t& length : with_new) ++length;
  return qkv.is_cpu() ? AttendOnCpu(layer, qkv, slots, with_new)
                      : AttendGeneric(layer, qkv, slots, with_new);
}

at::Tensor KvCache::AttendOnCpu(int64_t layer, const at::Tensor& qkv,
                                const std::vector<int64_t>& slots,
                                const std::vector<int64_t>& lengths_with_new) const {
  at::Tensor out = at::empty({qkv.size(0), config_.query_size()}, qkv.options());
  const auto run = [&]<typename T>(T) {
    DecodeAttentionArgs<T> args;
    args.query = static_cast<const T*>(qkv.data_ptr());
    args.query_stride = qkv.size(1);
    args.keys = static_cast<const T*>(keys_[layer].data_ptr());
    args.values = static_cast<const T*>(values_[layer].data_ptr());
    args.slots = slots.data();
    args.lengths = lengths_with_new.data();
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
                 int64_t begin, int64_t end) { kernel(args, scores.get(), begin, end); };
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
                                  const std::vector<int64_t>& slots,
                                  const std::vector<int64_t>& lengths_with_new) const {
  const int64_t rows = qkv.size(0);
  const int64_t group = config_.num_heads / config_.num_kv_heads;
  const int64_t longest = *std::max_element(lengths_with_new.begin(), lengths_with_new.end());
  const at::Tensor slot = IndexTensor(slots, qkv.device());
  const auto cached = [&](const at::Tensor& cache) {
    return cache.narrow(2, 0, longest).index_select(0, slot).repeat_interleave(group, 1);
  };
  const at::Tensor query = qkv.narrow(1, 0, config_.query_size())
                               .reshape({rows, config_.num_heads, 1, config_.head_dim});
  const at::Tensor lengths = IndexTensor(lengths_with_new, qkv.device()).unsqueeze(1);
  const at::Tensor positions =
      at::arange(longest, at::TensorOptions(qkv.device()).dtype(at::kLong)).unsqueeze(0);
  at::Tensor visible = positions < lengths;
  if (config_.sliding_window > 0) {
    visible = visible.logical_and(positions >= lengths - config_.sliding_window);
  }
  return at::scaled_dot_product_attention(query, cached(keys_[layer]), cached(values_[layer]),
                                          visible.view({rows, 1, 1, longest}))
      .reshape({rows, config_.query_size()});
}

}  // namespace wardtune
