#include "worker/training/decoder_backward.h"

#include <algorithm>

#include "worker/model/lanes.h"
#include "worker/model/matrix_product.h"
#include "worker/model/torch_ops.h"

namespace wardtune {
namespace {

// What all layers of one pass share.
struct Pass {
  const ModelWeights& weights;
  LoraSegments segments;
  const PackedTokens& tokens;
  const RopeTables& rope;
  std::span<LoraGradients* const> gradients;
  const BackwardResults& more;
};

// The gradient that flows through one fused matrix, in two stages: first what reaches the rank
// space, then, once the input has been recomputed, the gradients of A and B. Each segment has its
// own factors and gradients.
class LinearGradient {
 public:
  LinearGradient(const Pass& pass, size_t layer, FusedLinear which, const at::Tensor& dy)
      : pass_(pass), layer_(layer), which_(which), dy_(dy) {
    for (const LoraSegment& segment : pass.segments) {
      const FusedLora* lora = segment.lora->at(layer, which);
      d_hidden_.push_back(lora == nullptr ? at::Tensor() : InRankSpace(segment, *lora));
    }
  }

  // dX = dY W + (dY B) A
  at::Tensor Input() const {
    std::vector<LowRankTerm> terms;
    for (size_t i = 0; i < d_hidden_.size(); ++i) {
      if (!d_hidden_[i].defined()) continue;
      const LoraSegment& segment = pass_.segments[i];
      terms.push_back({segment.begin, 0, d_hidden_[i], segment.lora->at(layer_, which_)->a});
    }
    return Times(dy_, pass_.weights.layers[layer_].at(which_).weight, terms);
  }

  // dA += (dY B)^T x and dB += dY^T (x A^T); dW += dY^T x.
  void Accumulate(const at::Tensor& x, const LayerActivations& saved) const {
    const auto which = static_cast<size_t>(which_);
    if (pass_.more.weights != nullptr) {
      AddTransposedTimes(pass_.more.weights->layers[layer_][which], dy_, x);
    }
    for (size_t i = 0; i < d_hidden_.size(); ++i) {
      if (!d_hidden_[i].defined()) continue;
      const LoraSegment& segment = pass_.segments[i];
      FactorGradients& gradient = pass_.gradients[i]->layers[layer_][which];
      if (!gradient.defined()) continue;
      const int64_t trained = gradient.a.size(0);  // ranks of frozen adapters follow
      AddTransposedTimes(gradient.a, d_hidden_[i].narrow(1, 0, trained), Rows(x, segment));
      for (const LoraBlock& block : segment.lora->at(layer_, which_)->blocks) {
        if (block.rank_begin >= trained) break;
        at::Tensor sum = gradient.BlockOfB(block);
        AddTransposedTimes(sum, Columns(segment, block),
                           saved.lora_hidden[which][i].narrow(1, block.rank_begin, block.rank));
      }
    }
  }

 private:
  static at::Tensor Rows(const at::Tensor& x, const LoraSegment& segment) {
    return x.narrow(0, segment.begin, segment.end - segment.begin);
  }

  // What of dY belongs to a block.
  at::Tensor Columns(const LoraSegment& segment, const LoraBlock& block) const {
    return Rows(dy_, segment).narrow(1, block.out_begin, block.out_rows);
  }

  // dY B
  at::Tensor InRankSpace(const LoraSegment& segment, const FusedLora& lora) const {
    at::Tensor d_hidden = at::empty({segment.end - segment.begin, lora.a.size(0)}, dy_.options());
    for (const LoraBlock& block : lora.blocks) {
      at::Tensor part = d_hidden.narrow(1, block.rank_begin, block.rank);
      TimesInto(part, Columns(segment, block), lora.BlockOfB(block));
    }
    return d_hidden;
  }

  const Pass& pass_;
  const size_t layer_;
  const FusedLinear which_;
  const at::Tensor dy_;
  std::vector<at::Tensor> d_hidden_;  // one per segment
};

// x * inv_rms * weight, from what the forward pass kept.
at::Tensor Renormalize(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return AddRmsNorm(x, {}, weight, eps).y;
}

// Backward of NormalizeQueryKey: replaces the q and k columns of d_qkv.
void QueryKeyNormGradient(const at::Tensor& qkv_raw, const LayerWeights& layer,
                          const ModelConfig& config, at::Tensor& d_qkv) {
  const int64_t rows = qkv_raw.size(0);
  const int64_t d = config.head_dim;
  const auto backward = [&](int64_t column, int64_t heads, const at::Tensor& weight) {
    const at::Tensor x = qkv_raw.narrow(1, column, heads * d).reshape({rows * heads, d});
    at::Tensor slice = d_qkv.narrow(1, column, heads * d);
    const at::Tensor dy = slice.reshape({rows * heads, d});
    at::Tensor dx = at::zeros_like(x);
    AddRmsNormGradient(dy, x, weight, AddRmsNorm(x, {}, weight, config.rms_norm_eps).inv_rms, dx);
    slice.copy_(dx.view({rows, heads * d}));
  };
  backward(0, config.num_heads, layer.q_norm);
  backward(config.query_size(), config.num_kv_heads, layer.k_norm);
}

// dx is the gradient of the layer's output and becomes that of x_mid.
void MlpGradient(const Pass& pass, size_t number, LayerActivations& saved, at::Tensor& dx) {
  const LinearGradient down(pass, number, FusedLinear::kDown, dx);
  at::Tensor d_act = down.Input();
  SwiGluGradient(saved.gate_up, d_act);  // gate_up is now its gradient, d_act the activation
  down.Accumulate(d_act, saved);

  const LinearGradient gate_up(pass, number, FusedLinear::kGateUp, saved.gate_up);
  const at::Tensor& norm = pass.weights.layers[number].post_attention_norm;
  gate_up.Accumulate(Renormalize(saved.x_mid, norm, pass.weights.config.rms_norm_eps), saved);
  AddRmsNormGradient(gate_up.Input(), saved.x_mid, norm, saved.inv_rms_mid, dx);
}

// dx is the gradient of x_mid and becomes that of the layer's input; the first layer's input needs
// none.
void AttentionGradient(const Pass& pass, size_t number, const LayerActivations& saved,
                       at::Tensor& dx) {
  const ModelConfig& config = pass.weights.config;
  const LayerWeights& layer = pass.weights.layers[number];
  const LinearGradient o(pass, number, FusedLinear::kO, dx);
  o.Accumulate(saved.attention.out, saved);
  at::Tensor d_qkv =
      PackedAttentionGradient(o.Input(), saved.qkv, saved.attention, pass.tokens, config);
  ApplyRope(d_qkv, pass.rope, config.num_heads + config.num_kv_heads, config.head_dim,
            /*inverse=*/true);
  if (config.qk_norm) QueryKeyNormGradient(saved.qkv_raw, layer, config, d_qkv);

  const LinearGradient qkv(pass, number, FusedLinear::kQkv, d_qkv);
  qkv.Accumulate(Renormalize(saved.x, layer.input_norm, config.rms_norm_eps), saved);
  if (number == 0) return;
  AddRmsNormGradient(qkv.Input(), saved.x, layer.input_norm, saved.inv_rms, dx);
}

}  // namespace

LoraGradients LoraGradients::ZerosLike(const LoraRuntime& lora) {
  LoraGradients gradients;
  gradients.layers.resize(lora.layers.size());
  for (size_t l = 0; l < lora.layers.size(); ++l) {
    for (int i = 0; i < kFusedLinearCount; ++i) {
      const FusedLora& from = lora.layers[l][i];
      if (!from.defined()) continue;
      int64_t rank = 0;
      for (const LoraBlock& block : from.blocks) rank = std::max(rank, block.rank);
      gradients.layers[l][i] = {
          at::zeros_like(from.a, at::kFloat),
          at::zeros({from.b.size(0), rank}, from.b.options().dtype(at::kFloat))};
    }
  }
  return gradients;
}

void LoraGradients::Add(const LoraGradients& other) {
  ForEachInParallel(static_cast<int64_t>(layers.size()), [&](int64_t l) {
    for (int i = 0; i < kFusedLinearCount; ++i) {
      if (!layers[l][i].defined()) continue;
      layers[l][i].a.add_(other.layers[l][i].a);
      layers[l][i].b.add_(other.layers[l][i].b);
    }
  });
}

WeightGradients WeightGradients::ZerosLike(const ModelWeights& weights) {
  WeightGradients gradients;
  for (const LayerWeights& layer : weights.layers) {
    gradients.layers.emplace_back();
    for (int i = 0; i < kFusedLinearCount; ++i) {
      gradients.layers.back()[i] = at::zeros_like(layer.linear[i].weight, at::kFloat);
    }
  }
  return gradients;
}

void WeightGradients::SetToZero() {
  for (auto& layer : layers) {
    for (at::Tensor& gradient : layer) gradient.zero_();
  }
}

void BackwardLayers(const ModelWeights& weights, LoraSegments segments, const PackedTokens& tokens,
                    std::vector<LayerActivations>& activations, at::Tensor d_residual,
                    std::span<LoraGradients* const> gradients, const BackwardResults& more) {
  if (more.attention == nullptr && !d_residual.any().item<bool>()) {
    activations.clear();
    return;
  }
  const RopeTables rope = MakeRopeTables(weights.rope, tokens.positions);
  const Pass pass{weights, segments, tokens, rope, gradients, more};
  if (more.attention != nullptr) more.attention->resize(activations.size());
  for (size_t l = activations.size(); l-- > 0;) {
    LayerActivations& saved = activations[l];
    if (!saved.complete()) {
      RecomputeLayer(weights, segments, tokens, rope, static_cast<int64_t>(l), saved);
    }
    MlpGradient(pass, l, saved, d_residual);
    if (more.attention != nullptr) (*more.attention)[l] = d_residual.clone();
    AttentionGradient(pass, l, saved, d_residual);
    activations.pop_back();
  }
}

}  // namespace wardtune
