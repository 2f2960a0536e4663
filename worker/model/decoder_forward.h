// The forward pass over a packed stream of tokens, for scoring, generation and training alike.
// Thread safety: pure functions on their arguments.
#ifndef WARDTUNE_WORKER_MODEL_DECODER_FORWARD_H_
#define WARDTUNE_WORKER_MODEL_DECODER_FORWARD_H_

#include <ATen/core/Tensor.h>

#include <functional>
#include <span>
#include <vector>

#include "worker/model/lora_runtime.h"
#include "worker/model/model_weights.h"
#include "worker/model/packed_attention.h"
#include "worker/model/packed_tokens.h"
#include "worker/model/packed_weights.h"
#include "worker/model/tensor_ops.h"

namespace wardtune {

// What the backward pass of one layer needs. Normalised inputs and activations are recomputed from
// it; with H = hidden, F = intermediate the layer keeps about 2H + qkv + query + 2F numbers a
// token.
struct LayerActivations {
  at::Tensor x;        // input of the layer, [rows, hidden]
  at::Tensor inv_rms;  // of the input norm
  at::Tensor qkv_raw;  // before the norm of q and k and before RoPE; only with qk_norm
  at::Tensor qkv;      // after RoPE
  AttentionResult attention;
  at::Tensor x_mid;  // after the attention's residual
  at::Tensor inv_rms_mid;
  at::Tensor gate_up;
  // x A^T of every fused matrix, [rows, R], one for each segment; undefined without LoRA.
  std::array<std::vector<at::Tensor>, kFusedLinearCount> lora_hidden;

  // False when only x was kept (ForwardHooks::keep_inputs_only).
  bool complete() const { return x_mid.defined(); }
};

// q and k normalised per head (Qwen3), in a copy.
at::Tensor NormalizeQueryKey(const at::Tensor& qkv, const LayerWeights& layer,
                             const ModelConfig& config);

// Replaces the attention of a layer: gets the layer's number and the rotated qkv, returns
// [rows, heads * head_dim].
using AttentionOverride = std::function<at::Tensor(int64_t layer, const at::Tensor& qkv)>;

struct ForwardHooks {
  // Not null: one entry per layer is appended.
  std::vector<LayerActivations>* activations = nullptr;
  // Keeps each layer's input alone; RecomputeLayer makes the rest again when it is needed.
  bool keep_inputs_only = false;
  // Called with every layer's rotated qkv, for example to fill a cache. May be empty.
  std::function<void(int64_t layer, const at::Tensor& qkv)> on_qkv;
  AttentionOverride attention;
  // Not empty: added to what each layer's attention adds to the residual stream, [rows, hidden] a
  // layer, in the compute type. RecomputeLayer leaves it out.
  std::span<const at::Tensor> attention_shifts;
  // Not null: the same weights for the products, laid out for few rows.
  const PackedWeights* packed = nullptr;
};

// The residual stream after the last layer, before the final norm: [rows, hidden].
at::Tensor RunLayers(const ModelWeights& weights, LoraSegments segments, const PackedTokens& tokens,
                     const ForwardHooks& hooks = {});
// The same adapters for all rows.
at::Tensor RunLayers(const ModelWeights& weights, const LoraRuntime& lora,
                     const PackedTokens& tokens, const ForwardHooks& hooks = {});

// Fills in what keep_inputs_only left out, to the same bits (gradient checkpointing, Chen et al.,
// arXiv 1604.06174).
void RecomputeLayer(const ModelWeights& weights, LoraSegments segments, const PackedTokens& tokens,
                    const RopeTables& rope, int64_t layer, LayerActivations& activations);

// Final norm and output head of some rows: [n, vocab] in the compute type.
at::Tensor HeadLogits(const ModelWeights& weights, const at::Tensor& residual_rows,
                      const PackedWeights* packed = nullptr);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_DECODER_FORWARD_H_
