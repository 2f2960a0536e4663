#include "worker/model/decoder_forward.h"

#include "worker/model/matrix_product.h"
#include "worker/model/torch_ops.h"

namespace wardtune {
namespace {

// Results that the next operation uses up, in memory that all layers of a pass share. Allocated
// anew in each they left holes between what is kept for the backward pass, a tenth of a step's
// memory: glibc (2.36) gives no aligned allocation a hole of just its size. What is undefined is
// not shared.
struct Scratch {
  at::Tensor normed;      // [rows, hidden]
  at::Tensor projected;   // [rows, hidden], what a block adds to the residual stream
  at::Tensor activation;  // [rows, intermediate]
};
Scratch MakeScratch(const at::Tensor& x, const ModelConfig& config, const ForwardHooks& hooks) {
  if (!x.is_cpu()) return {};
  return {.normed = at::empty_like(x),
          .projected = hooks.packed == nullptr ? at::empty_like(x) : at::Tensor(),
          .activation = at::empty({x.size(0), config.intermediate_size}, x.options())};
}

// What all layers of one pass share.
struct Pass {
  const ModelWeights& weights;
  LoraSegments segments;
  const PackedTokens& tokens;
  const RopeTables& rope;
  const ForwardHooks& hooks;
  const Scratch& scratch;
};

// (x A^T) B^T of one segment: block by block, or with B's zeros as one product where each product
// has its own price.
void AddTermsOf(const LoraSegment& segment, const FusedLora& lora, const at::Tensor& hidden,
                bool by_block, std::vector<LowRankTerm>& terms) {
  if (!by_block) {
    terms.push_back({segment.begin, 0, hidden, lora.b});
    return;
  }
  for (const LoraBlock& block : lora.blocks) {
    terms.push_back({segment.begin, block.out_begin, hidden.narrow(1, block.rank_begin, block.rank),
                     lora.BlockOfB(block)});
  }
}

// y = x W^T + bias, plus (x A^T) B^T in every segment. `keep` receives the x A^T. The result may be
// `into`.
at::Tensor Linear(const Pass& pass, int64_t layer, FusedLinear which, const at::Tensor& x,
                  LayerActivations* keep, const at::Tensor& into = {}) {
  const bool by_block = pass.hooks.packed == nullptr && HasOwnProducts(x);
  std::vector<LowRankTerm> terms;
  for (const LoraSegment& segment : pass.segments) {
    const FusedLora* lora = segment.lora->at(layer, which);
    at::Tensor hidden;
    if (lora != nullptr) {
      hidden = TimesTransposed(x.narrow(0, segment.begin, segment.end - segment.begin), lora->a);
      AddTermsOf(segment, *lora, hidden, by_block, terms);
    }
    if (keep != nullptr) keep->lora_hidden[static_cast<int>(which)].push_back(hidden);
  }
  const LinearWeights& linear = pass.weights.layers[layer].at(which);
  at::Tensor y;
  if (pass.hooks.packed != nullptr) {
    y = pass.hooks.packed->Multiply(layer, which, x);
    AddTimesTransposed(y, terms);
  } else {
    y = TimesTransposed(x, linear.weight, terms, into);
  }
  return linear.bias.defined() ? y.add_(linear.bias) : y;
}

at::Tensor AttentionBlock(const Pass& pass, int64_t number, const at::Tensor& normed,
                          LayerActivations* keep) {
  const ModelConfig& config = pass.weights.config;
  at::Tensor qkv = Linear(pass, number, FusedLinear::kQkv, normed, keep);
  if (config.qk_norm) {
    if (keep != nullptr) keep->qkv_raw = qkv;
    qkv = NormalizeQueryKey(qkv, pass.weights.layers[number], config);
  }
  ApplyRope(qkv, pass.rope, config.num_heads + config.num_kv_heads, config.head_dim,
            /*inverse=*/false);
  if (pass.hooks.on_qkv) pass.hooks.on_qkv(number, qkv);
  AttentionResult attention;
  if (pass.hooks.attention) {
    attention.out = pass.hooks.attention(number, qkv);
  } else {
    attention = PackedAttention(qkv, pass.tokens, config);
  }
  at::Tensor out =
      Linear(pass, number, FusedLinear::kO, attention.out, keep, pass.scratch.projected);
  if (keep != nullptr) {
    keep->qkv = qkv;
    keep->attention = std::move(attention);
  }
  return out;
}

at::Tensor MlpBlock(const Pass& pass, int64_t number, const at::Tensor& normed,
                    LayerActivations* keep) {
  at::Tensor gate_up = Linear(pass, number, FusedLinear::kGateUp, normed, keep);
  at::Tensor out = Linear(pass, number, FusedLinear::kDown,
                          SwiGlu(gate_up, pass.scratch.activation), keep, pass.scratch.projected);
  if (keep != nullptr) keep->gate_up = gate_up;
  return out;
}

// A layer's output is x + delta; the sum is taken by the norm that comes next.
struct Residual {
  at::Tensor x;
  at::Tensor delta;
};
Residual RunLayer(const Pass& pass, int64_t number, const Residual& input, LayerActivations* keep) {
  const double eps = pass.weights.config.rms_norm_eps;
  const LayerWeights& layer = pass.weights.layers[number];
  const at::Tensor& normed = pass.scratch.normed;
  const NormResult in = AddRmsNorm(input.x, input.delta, layer.input_norm, eps, normed);
  at::Tensor attended = AttentionBlock(pass, number, in.y, keep);
  if (!pass.hooks.attention_shifts.empty()) attended.add_(pass.hooks.attention_shifts[number]);
  const NormResult mid = AddRmsNorm(in.sum, attended, layer.post_attention_norm, eps, normed);
  if (keep != nullptr) {
    keep->x = in.sum;
    keep->inv_rms = in.inv_rms;
    keep->x_mid = mid.sum;
    keep->inv_rms_mid = mid.inv_rms;
  }
  return {mid.sum, MlpBlock(pass, number, mid.y, keep)};
}

}  // namespace

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

at::Tensor RunLayers(const ModelWeights& weights, LoraSegments segments, const PackedTokens& tokens,
                     const ForwardHooks& hooks) {
  const RopeTables rope = MakeRopeTables(weights.rope, tokens.positions);
  Residual residual{weights.embedding.index_select(0, tokens.ids), {}};
  const Scratch scratch = MakeScratch(residual.x, weights.config, hooks);
  const Pass pass{weights, segments, tokens, rope, hooks, scratch};
  for (int64_t l = 0; l < weights.config.num_layers; ++l) {
    LayerActivations* keep = nullptr;
    if (hooks.activations != nullptr) keep = &hooks.activations->emplace_back();
    if (keep != nullptr && hooks.keep_inputs_only) {
      keep->x = residual.delta.defined() ? residual.x + residual.delta : residual.x;
      residual = {keep->x, {}};
      keep = nullptr;
    }
    residual = RunLayer(pass, l, residual, keep);
  }
  return residual.x + residual.delta;
}

at::Tensor RunLayers(const ModelWeights& weights, const LoraRuntime& lora,
                     const PackedTokens& tokens, const ForwardHooks& hooks) {
  const LoraSegment all{0, tokens.ids.size(0), &lora};
  return RunLayers(weights, LoraSegments(&all, 1), tokens, hooks);
}

void RecomputeLayer(const ModelWeights& weights, LoraSegments segments, const PackedTokens& tokens,
                    const RopeTables& rope, int64_t layer, LayerActivations& activations) {
  const ForwardHooks hooks;
  RunLayer({weights, segments, tokens, rope, hooks, /*scratch=*/{}}, layer, {activations.x, {}},
           &activations);
}

at::Tensor HeadLogits(const ModelWeights& weights, const at::Tensor& residual_rows,
                      const PackedWeights* packed) {
  const NormResult norm =
      AddRmsNorm(residual_rows, {}, weights.final_norm, weights.config.rms_norm_eps);
  return packed != nullptr ? packed->MultiplyHead(norm.y) : TimesTransposed(norm.y, weights.head);
}

}  // namespace wardtune
