#include "worker/model/decoder_forward.h"

#include "worker/model/torch_ops.h"

namespace wardtune {
namespace {

void KeepHidden(LayerActivations* keep, FusedLinear which, const at::Tensor& hidden) {
  if (keep != nullptr) keep->lora_hidden[static_cast<int>(which)] = hidden;
}

at::Tensor AttentionBlock(const ModelWeights& weights, const LayerWeights& layer, int64_t number,
                          const LoraRuntime& lora, const PackedTokens& tokens,
                          const RopeTables& rope, const at::Tensor& normed,
                          const ForwardHooks& hooks, LayerActivations* keep) {
  const ModelConfig& config = weights.config;
  at::Tensor hidden;
  at::Tensor qkv = LinearForward(normed, layer.at(FusedLinear::kQkv),
                                 lora.at(number, FusedLinear::kQkv), &hidden);
  KeepHidden(keep, FusedLinear::kQkv, hidden);
  if (config.qk_norm) {
    if (keep != nullptr) keep->qkv_raw = qkv;
    qkv = NormalizeQueryKey(qkv, layer, config);
  }
  ApplyRope(qkv, rope, config.num_heads + config.num_kv_heads, config.head_dim,
            /*inverse=*/false);
  if (hooks.on_qkv) hooks.on_qkv(number, qkv);
  AttentionResult attention;
  if (hooks.attention) {
    attention.out = hooks.attention(number, qkv);
  } else {
    attention = PackedAttention(qkv, tokens.offsets, config);
  }
  at::Tensor out = LinearForward(attention.out, layer.at(FusedLinear::kO),
                                 lora.at(number, FusedLinear::kO), &hidden);
  KeepHidden(keep, FusedLinear::kO, hidden);
  if (keep != nullptr) {
    keep->qkv = qkv;
    keep->attention = std::move(attention);
  }
  return out;
}

at::Tensor MlpBlock(const LayerWeights& layer, int64_t number, const LoraRuntime& lora,
                    const at::Tensor& normed, LayerActivations* keep) {
  at::Tensor hidden;
  at::Tensor gate_up = LinearForward(normed, layer.at(FusedLinear::kGateUp),
                                     lora.at(number, FusedLinear::kGateUp), &hidden);
  KeepHidden(keep, FusedLinear::kGateUp, hidden);
  at::Tensor out = LinearForward(SwiGlu(gate_up), layer.at(FusedLinear::kDown),
                                 lora.at(number, FusedLinear::kDown), &hidden);
  KeepHidden(keep, FusedLinear::kDown, hidden);
  if (keep != nullptr) keep->gate_up = gate_up;
  return out;
}

}  // namespace

PackedTokens PackTokens(std::span<const std::span<const int32_t>> sequences, at::Device device) {
  PackedTokens packed;
  packed.offsets.push_back(0);
  for (const auto& sequence : sequences) {
    packed.offsets.push_back(packed.offsets.back() + static_cast<int64_t>(sequence.size()));
  }
  at::Tensor ids = at::empty({packed.offsets.back()}, at::kLong);
  at::Tensor positions = at::empty({packed.offsets.back()}, at::kLong);
  int64_t* id = ids.data_ptr<int64_t>();
  int64_t* position = positions.data_ptr<int64_t>();
  for (const auto& sequence : sequences) {
    for (size_t i = 0; i < sequence.size(); ++i) {
      *id++ = sequence[i];
      *position++ = static_cast<int64_t>(i);
    }
  }
  packed.ids = ids.to(device);
  packed.positions = positions.to(device);
  return packed;
}

at::Tensor LinearForward(const at::Tensor& x, const LinearWeights& linear, const FusedLora* lora,
                         at::Tensor* hidden) {
  const at::Tensor weight_t = linear.weight.t();
  at::Tensor y = linear.bias.defined() ? at::addmm(linear.bias, x, weight_t) : at::mm(x, weight_t);
  if (lora == nullptr) {
    *hidden = at::Tensor();
    return y;
  }
  *hidden = at::mm(x, lora->a.t());
  y.addmm_(*hidden, lora->b.t());
  return y;
}

at::Tensor NormalizeQueryKey(const at::Tensor& qkv, const LayerWeights& layer,
                             const ModelConfig& config) {
  const int64_t rows = qkv.size(0);
  const int64_t d = config.head_dim;
  const auto normalize = [&](int64_t column, int64_t heads, const at::Tensor& weight) {
    const at::Tensor x = qkv.narrow(1, column, heads * d).reshape({rows * heads, d});
    return AddRmsNorm(x, {}, weight, config.rms_norm_eps).y.view({rows, heads * d});
  };
  const int64_t q = config.query_size();
  const int64_t kv = config.kv_size();
  return at::cat({normalize(0, config.num_heads, layer.q_norm),
                  normalize(q, config.num_kv_heads, layer.k_norm), qkv.narrow(1, q + kv, kv)},
                 1);
}

at::Tensor RunLayers(const ModelWeights& weights, const LoraRuntime& lora,
                     const PackedTokens& tokens, const ForwardHooks& hooks) {
  const double eps = weights.config.rms_norm_eps;
  const RopeTables rope = MakeRopeTables(weights.rope, tokens.positions);
  at::Tensor x = weights.embedding.index_select(0, tokens.ids);
  at::Tensor delta;
  for (int64_t l = 0; l < weights.config.num_layers; ++l) {
    const LayerWeights& layer = weights.layers[l];
    LayerActivations* keep = nullptr;
    if (hooks.activations != nullptr) keep = &hooks.activations->emplace_back();

    const NormResult in = AddRmsNorm(x, delta, layer.input_norm, eps);
    const at::Tensor attended =
        AttentionBlock(weights, layer, l, lora, tokens, rope, in.y, hooks, keep);
    const NormResult mid = AddRmsNorm(in.sum, attended, layer.post_attention_norm, eps);
    delta = MlpBlock(layer, l, lora, mid.y, keep);
    x = mid.sum;
    if (keep != nullptr) {
      keep->x = in.sum;
      keep->inv_rms = in.inv_rms;
      keep->x_mid = mid.sum;
      keep->inv_rms_mid = mid.inv_rms;
    }
  }
  return x + delta;
}

at::Tensor HeadLogits(const ModelWeights& weights, const at::Tensor& residual_rows) {
  const NormResult norm =
      AddRmsNorm(residual_rows, {}, weights.final_norm, weights.config.rms_norm_eps);
  return at::mm(norm.y, weights.head.t());
}

}  // namespace wardtune
