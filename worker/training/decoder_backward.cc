#include "worker/training/decoder_backward.h"

#include "worker/model/torch_ops.h"

namespace wardtune {
namespace {

// The gradient that flows through one fused matrix, in two stages: first what reaches the rank
// space, then, once the input has been recomputed, the gradients of A and B.
class LinearGradient {
 public:
  LinearGradient(const LinearWeights& linear, const FusedLora* lora, const at::Tensor& dy)
      : linear_(linear), lora_(lora), dy_(dy) {
    if (lora_ != nullptr) d_hidden_ = at::mm(dy_, lora_->b);
  }

  // dX = dY W + (dY B) A
  at::Tensor Input() const {
    at::Tensor dx = at::mm(dy_, linear_.weight);
    if (lora_ != nullptr) dx.addmm_(d_hidden_, lora_->a);
    return dx;
  }

  // dA += (dY B)^T x and dB += dY^T (x A^T); `hidden` is x A^T.
  void Accumulate(const at::Tensor& x, const at::Tensor& hidden, FusedLora& gradient) const {
    if (lora_ == nullptr) return;
    gradient.a.add_(at::mm(d_hidden_.t(), x));
    gradient.b.add_(at::mm(dy_.t(), hidden));
  }

 private:
  const LinearWeights& linear_;
  const FusedLora* lora_;
  const at::Tensor dy_;
  at::Tensor d_hidden_;
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

struct LayerContext {
  const ModelWeights& weights;
  const LayerWeights& layer;
  const LoraRuntime& lora;
  size_t number;
  LayerActivations& saved;
  std::array<FusedLora, kFusedLinearCount>& gradients;

  LinearGradient Linear(FusedLinear which, const at::Tensor& dy) const {
    return LinearGradient(layer.at(which), lora.at(number, which), dy);
  }
  void Accumulate(FusedLinear which, const LinearGradient& linear, const at::Tensor& x) const {
    const int i = static_cast<int>(which);
    linear.Accumulate(x, saved.lora_hidden[i], gradients[i]);
  }
};

// dx is the gradient of the layer's output and becomes that of x_mid.
void MlpGradient(const LayerContext& c, at::Tensor& dx) {
  const LinearGradient down = c.Linear(FusedLinear::kDown, dx);
  at::Tensor d_act = down.Input();
  SwiGluGradient(c.saved.gate_up, d_act);  // gate_up is now its gradient, d_act the activation
  c.Accumulate(FusedLinear::kDown, down, d_act);

  const LinearGradient gate_up = c.Linear(FusedLinear::kGateUp, c.saved.gate_up);
  const at::Tensor& norm = c.layer.post_attention_norm;
  c.Accumulate(FusedLinear::kGateUp, gate_up,
               Renormalize(c.saved.x_mid, norm, c.weights.config.rms_norm_eps));
  AddRmsNormGradient(gate_up.Input(), c.saved.x_mid, norm, c.saved.inv_rms_mid, dx);
}

// dx is the gradient of x_mid and becomes that of the layer's input; the first layer's input needs
// none.
void AttentionGradient(const LayerContext& c, const RopeTables& rope,
                       const std::vector<int64_t>& offsets, at::Tensor& dx) {
  const ModelConfig& config = c.weights.config;
  const LinearGradient o = c.Linear(FusedLinear::kO, dx);
  c.Accumulate(FusedLinear::kO, o, c.saved.attention.out);
  at::Tensor d_qkv =
      PackedAttentionGradient(o.Input(), c.saved.qkv, c.saved.attention, offsets, config);
  ApplyRope(d_qkv, rope, config.num_heads + config.num_kv_heads, config.head_dim,
            /*inverse=*/true);
  if (config.qk_norm) QueryKeyNormGradient(c.saved.qkv_raw, c.layer, config, d_qkv);

  const LinearGradient qkv = c.Linear(FusedLinear::kQkv, d_qkv);
  c.Accumulate(FusedLinear::kQkv, qkv,
               Renormalize(c.saved.x, c.layer.input_norm, config.rms_norm_eps));
  if (c.number == 0) return;
  AddRmsNormGradient(qkv.Input(), c.saved.x, c.layer.input_norm, c.saved.inv_rms, dx);
}

}  // namespace

LoraGradients LoraGradients::ZerosLike(const LoraRuntime& lora) {
  LoraGradients gradients;
  gradients.layers.resize(lora.layers.size());
  for (size_t l = 0; l < lora.layers.size(); ++l) {
    for (int i = 0; i < kFusedLinearCount; ++i) {
      const FusedLora& from = lora.layers[l][i];
      if (!from.defined()) continue;
      gradients.layers[l][i] = {at::zeros_like(from.a, at::kFloat),
                                at::zeros_like(from.b, at::kFloat)};
    }
  }
  return gradients;
}

void BackwardLayers(const ModelWeights& weights, const LoraRuntime& lora,
                    const PackedTokens& tokens, std::vector<LayerActivations>& activations,
                    at::Tensor d_residual, LoraGradients& gradients) {
  const RopeTables rope = MakeRopeTables(weights.rope, tokens.positions);
  for (size_t l = activations.size(); l-- > 0;) {
    const LayerContext context{weights, weights.layers[l], lora,
                               l,       activations[l],    gradients.layers[l]};
    MlpGradient(context, d_residual);
    AttentionGradient(context, rope, tokens.offsets, d_residual);
    activations.pop_back();
  }
}

}  // namespace wardtune
