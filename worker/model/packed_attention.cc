#include "worker/model/packed_attention.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "worker/model/attention_kernels.h"
#include "worker/model/torch_ops.h"

namespace wardtune {
namespace {

// Queries, keys and values of one sequence, [1, heads, length, head_dim]. Keys and values are
// repeated for the heads that share them.
struct SequenceView {
  at::Tensor q, k, v;
};

at::Tensor Repeat(const at::Tensor& kv, int64_t times) {
  if (times == 1) return kv;
  const auto sizes = kv.sizes();  // [1, kv_heads, length, head_dim]
  return kv.unsqueeze(2)
      .expand({1, sizes[1], times, sizes[2], sizes[3]})
      .reshape({1, sizes[1] * times, sizes[2], sizes[3]});
}

SequenceView ViewOf(const at::Tensor& qkv, int64_t begin, int64_t end, const ModelConfig& config) {
  const int64_t length = end - begin;
  const at::Tensor rows = qkv.narrow(0, begin, length);
  const auto heads_of = [&](int64_t column, int64_t heads) {
    return rows.narrow(1, column, heads * config.head_dim)
        .view({1, length, heads, config.head_dim})
        .transpose(1, 2);
  };
  const int64_t group = config.num_heads / config.num_kv_heads;
  const int64_t q = config.query_size();
  return {heads_of(0, config.num_heads), Repeat(heads_of(q, config.num_kv_heads), group),
          Repeat(heads_of(q + config.kv_size(), config.num_kv_heads), group)};
}

// LibTorch's fused kernel knows no sliding window; below the window's length none is needed.
bool UseFusedKernel(const at::Tensor& qkv, int64_t length, const ModelConfig& config) {
  return qkv.is_cpu() && (config.sliding_window == 0 || length <= config.sliding_window);
}

// -inf where a token may not look, fp32 [length, length].
at::Tensor CausalMask(int64_t length, int64_t window, const at::Tensor& like) {
  at::Tensor allowed =
      at::ones({length, length}, at::TensorOptions(like.device()).dtype(at::kBool)).tril_();
  if (window > 0) allowed = allowed.triu(1 - window);
  return at::zeros({length, length}, at::TensorOptions(like.device()).dtype(at::kFloat))
      .masked_fill_(allowed.logical_not(), -std::numeric_limits<float>::infinity());
}

at::Tensor Probabilities(const SequenceView& view, double scale, int64_t window) {
  const at::Tensor scores =
      at::matmul(view.q.to(at::kFloat), view.k.to(at::kFloat).transpose(2, 3));
  return at::softmax(scores * scale + CausalMask(view.q.size(2), window, view.q), -1);
}

SequenceView PlainGradient(const at::Tensor& d_out, const SequenceView& view, double scale,
                           int64_t window) {
  const at::Tensor p = Probabilities(view, scale, window);
  const at::Tensor g = d_out.to(at::kFloat);
  const at::Tensor dp = at::matmul(g, view.v.to(at::kFloat).transpose(2, 3));
  const at::Tensor ds = p * (dp - (p * dp).sum(-1, true)) * scale;
  return {at::matmul(ds, view.k.to(at::kFloat)),
          at::matmul(ds.transpose(2, 3), view.q.to(at::kFloat)), at::matmul(p.transpose(2, 3), g)};
}

// Sums the gradient of repeated heads and lays it out as rows.
at::Tensor ToRows(const at::Tensor& gradient, int64_t heads) {
  const auto sizes = gradient.sizes();  // [1, query heads, length, head_dim]
  at::Tensor g = gradient;
  if (sizes[1] != heads) {
    g = g.reshape({1, heads, sizes[1] / heads, sizes[2], sizes[3]}).sum(2);
  }
  return g.transpose(1, 2).reshape({sizes[2], heads * sizes[3]});
}

// Null where LibTorch's operations are to be used.
const Bf16AttentionKernels* OwnKernels(const at::Tensor& qkv, const ModelConfig& config) {
  if (!qkv.is_cpu() || qkv.scalar_type() != at::kBFloat16) return nullptr;
  const Bf16AttentionKernels* const tiles = TileAttention(config.head_dim);
  return tiles != nullptr ? tiles : VectorAttention(config.head_dim);
}

uint16_t* Bits(const at::Tensor& tensor) { return static_cast<uint16_t*>(tensor.data_ptr()); }

Bf16Attention OwnKernelArgs(const at::Tensor& qkv, const AttentionResult& result,
                            const ModelConfig& config) {
  return {.qkv = Bits(qkv),
          .heads = config.num_heads,
          .kv_heads = config.num_kv_heads,
          .head_dim = config.head_dim,
          .window = config.sliding_window,
          .scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(config.head_dim))),
          .rows = qkv.size(0),
          .out = Bits(result.out),
          .logsumexp = result.logsumexp[0].data_ptr<float>()};
}

// The gradient of rows that sequences share is the sum over their copies, taken in fp32.
at::Tensor SumCopies(const at::Tensor& d_whole, const WholeSequences& whole) {
  at::Tensor d_rows = d_whole.index_select(0, whole.first);
  const std::vector<WholeSequences::Copy>& copies = whole.copies;
  for (size_t i = 0; i < copies.size();) {
    size_t end = i;
    int64_t longest = 0;
    for (; end < copies.size() && copies[end].row == copies[i].row; ++end) {
      longest = std::max(longest, copies[end].tokens);
    }
    const at::Tensor rows = d_rows.narrow(0, copies[i].row, longest);
    const at::Tensor sum = rows.to(at::kFloat);
    for (; i < end; ++i) {
      sum.narrow(0, 0, copies[i].tokens).add_(d_whole.narrow(0, copies[i].begin, copies[i].tokens));
    }
    rows.copy_(sum);
  }
  return d_rows;
}

// Runs the kernel for every (sequence, key head); threads take the longest sequences first.
void ForEachKeyHead(const Bf16AttentionKernels& kernels, const Bf16Attention& args,
                    const std::vector<int64_t>& offsets, bool backward) {
  const auto kernel = backward ? kernels.backward : kernels.forward;
  std::vector<size_t> order(offsets.size() - 1);
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  const auto length = [&](size_t i) { return offsets[i + 1] - offsets[i]; };
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return length(a) > length(b); });
  const auto scratch_bytes =
      static_cast<int64_t>(kernels.scratch(length(order[0]), args.head_dim, backward));
  const int64_t items = static_cast<int64_t>(order.size()) * args.kv_heads;
  std::atomic<int64_t> next = 0;
  at::parallel_for(0, at::get_num_threads(), 1, [&](int64_t first, int64_t last) {
    const at::Tensor scratch = at::empty({scratch_bytes}, at::kByte);
    for (int64_t thread = first; thread < last; ++thread) {
      for (int64_t item = next++; item < items; item = next++) {
        const size_t sequence = order[item / args.kv_heads];
        kernel(args, offsets[sequence], length(sequence), item % args.kv_heads, scratch.data_ptr());
      }
    }
  });
}

}  // namespace

AttentionResult PackedAttention(const at::Tensor& qkv, const std::vector<int64_t>& offsets,
                                const ModelConfig& config) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(config.head_dim));
  AttentionResult result;
  result.out = at::empty({qkv.size(0), config.query_size()}, qkv.options());
  if (const auto* const kernels = OwnKernels(qkv, config); kernels != nullptr) {
    result.logsumexp.push_back(at::empty({config.num_heads, qkv.size(0)}, at::kFloat));
    ForEachKeyHead(*kernels, OwnKernelArgs(qkv, result, config), offsets, /*backward=*/false);
    return result;
  }
  result.logsumexp.resize(offsets.size() - 1);
  for (size_t i = 0; i + 1 < offsets.size(); ++i) {
    const int64_t length = offsets[i + 1] - offsets[i];
    const SequenceView view = ViewOf(qkv, offsets[i], offsets[i + 1], config);
    at::Tensor target = result.out.narrow(0, offsets[i], length)
                            .view({1, length, config.num_heads, config.head_dim})
                            .transpose(1, 2);
    if (UseFusedKernel(qkv, length, config)) {
      auto [out, lse] = at::_scaled_dot_product_flash_attention_for_cpu(
          view.q, view.k, view.v, /*dropout_p=*/0.0, /*is_causal=*/true, {}, scale);
      target.copy_(out);
      result.logsumexp[i] = lse;
    } else {
      target.copy_(
          at::matmul(Probabilities(view, scale, config.sliding_window), view.v.to(at::kFloat)));
    }
  }
  return result;
}

at::Tensor PackedAttentionGradient(const at::Tensor& d_out, const at::Tensor& qkv,
                                   const AttentionResult& forward,
                                   const std::vector<int64_t>& offsets, const ModelConfig& config) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(config.head_dim));
  at::Tensor d_qkv = at::empty_like(qkv);
  if (const auto* const kernels = OwnKernels(qkv, config); kernels != nullptr) {
    Bf16Attention args = OwnKernelArgs(qkv, forward, config);
    args.d_out = Bits(d_out);
    args.d_qkv = Bits(d_qkv);
    ForEachKeyHead(*kernels, args, offsets, /*backward=*/true);
    return d_qkv;
  }
  const auto as_heads = [&](const at::Tensor& rows, int64_t begin, int64_t length) {
    return rows.narrow(0, begin, length)
        .view({1, length, config.num_heads, config.head_dim})
        .transpose(1, 2);
  };
  for (size_t i = 0; i + 1 < offsets.size(); ++i) {
    const int64_t begin = offsets[i];
    const int64_t length = offsets[i + 1] - begin;
    const SequenceView view = ViewOf(qkv, begin, offsets[i + 1], config);
    const at::Tensor g = as_heads(d_out, begin, length);
    SequenceView gradient;
    if (forward.logsumexp[i].defined()) {
      std::tie(gradient.q, gradient.k, gradient.v) =
          at::_scaled_dot_product_flash_attention_for_cpu_backward(
              g, view.q, view.k, view.v, as_heads(forward.out, begin, length), forward.logsumexp[i],
              /*dropout_p=*/0.0, /*is_causal=*/true, {}, scale);
    } else {
      gradient = PlainGradient(g, view, scale, config.sliding_window);
    }
    at::Tensor rows = d_qkv.narrow(0, begin, length);
    const int64_t q = config.query_size();
    const int64_t kv = config.kv_size();
    rows.narrow(1, 0, q).copy_(ToRows(gradient.q, config.num_heads));
    rows.narrow(1, q, kv).copy_(ToRows(gradient.k, config.num_kv_heads));
    rows.narrow(1, q + kv, kv).copy_(ToRows(gradient.v, config.num_kv_heads));
  }
  return d_qkv;
}

AttentionResult PackedAttention(const at::Tensor& qkv, const PackedTokens& tokens,
                                const ModelConfig& config) {
  if (!tokens.whole.has_value()) return PackedAttention(qkv, tokens.offsets, config);
  const WholeSequences& whole = *tokens.whole;
  AttentionResult result = PackedAttention(qkv.index_select(0, whole.rows), whole.offsets, config);
  result.out = result.out.index_select(0, whole.first);
  return result;
}

at::Tensor PackedAttentionGradient(const at::Tensor& d_out, const at::Tensor& qkv,
                                   const AttentionResult& forward, const PackedTokens& tokens,
                                   const ModelConfig& config) {
  if (!tokens.whole.has_value()) {
    return PackedAttentionGradient(d_out, qkv, forward, tokens.offsets, config);
  }
  const WholeSequences& whole = *tokens.whole;
  // What comes back reaches a shared row once; its copies give keys and values alone.
  at::Tensor d_whole_out = at::zeros({whole.offsets.back(), d_out.size(1)}, d_out.options());
  d_whole_out.index_copy_(0, whole.first, d_out);
  const AttentionResult whole_forward{forward.out.index_select(0, whole.rows), forward.logsumexp};
  return SumCopies(PackedAttentionGradient(d_whole_out, qkv.index_select(0, whole.rows),
                                           whole_forward, whole.offsets, config),
                   whole);
}

}  // namespace wardtune
