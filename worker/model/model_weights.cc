#include "worker/model/model_weights.h"

#include "absl/strings/str_cat.h"

namespace wardtune {

FusedSlice SliceOf(const ModelConfig& config, Projection projection) {
  const int64_t q = config.query_size();
  const int64_t kv = config.kv_size();
  const int64_t mid = config.intermediate_size;
  switch (projection) {
    case Projection::kQ:
      return {FusedLinear::kQkv, 0, q};
    case Projection::kK:
      return {FusedLinear::kQkv, q, kv};
    case Projection::kV:
      return {FusedLinear::kQkv, q + kv, kv};
    case Projection::kO:
      return {FusedLinear::kO, 0, config.hidden_size};
    case Projection::kGate:
      return {FusedLinear::kGateUp, 0, mid};
    case Projection::kUp:
      return {FusedLinear::kGateUp, mid, mid};
    case Projection::kDown:
      return {FusedLinear::kDown, 0, config.hidden_size};
  }
  return {};
}

std::vector<Projection> ProjectionsOf(FusedLinear linear) {
  switch (linear) {
    case FusedLinear::kQkv:
      return {Projection::kQ, Projection::kK, Projection::kV};
    case FusedLinear::kO:
      return {Projection::kO};
    case FusedLinear::kGateUp:
      return {Projection::kGate, Projection::kUp};
    case FusedLinear::kDown:
      return {Projection::kDown};
  }
  return {};
}

std::vector<std::pair<std::string, at::Tensor>> ModelWeights::Named() const {
  static constexpr const char* kNames[kFusedLinearCount] = {"qkv", "o", "gate_up", "down"};
  std::vector<std::pair<std::string, at::Tensor>> named;
  const auto add = [&](std::string name, const at::Tensor& tensor) {
    if (tensor.defined()) named.emplace_back(std::move(name), tensor);
  };
  add("embedding", embedding);
  for (size_t l = 0; l < layers.size(); ++l) {
    const std::string prefix = absl::StrCat("layers.", l, ".");
    const LayerWeights& layer = layers[l];
    add(prefix + "input_norm", layer.input_norm);
    add(prefix + "post_attention_norm", layer.post_attention_norm);
    add(prefix + "q_norm", layer.q_norm);
    add(prefix + "k_norm", layer.k_norm);
    for (int i = 0; i < kFusedLinearCount; ++i) {
      add(prefix + kNames[i] + ".weight", layer.linear[i].weight);
      add(prefix + kNames[i] + ".bias", layer.linear[i].bias);
    }
  }
  add("final_norm", final_norm);
  if (!config.tied_embeddings) add("head", head);
  return named;
}

}  // namespace wardtune
