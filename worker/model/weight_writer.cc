#include "worker/model/weight_writer.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "formats/safetensors_writer.h"
#include "worker/model/model_weights.h"
#include "worker/model/torch_boundary.h"
#include "worker/model/torch_ops.h"

namespace wardtune {
namespace {

// Tensors on the host under their names in the file.
class NamedTensors {
 public:
  void Add(std::string name, const at::Tensor& tensor) {
    if (tensor.defined()) tensors_.emplace_back(std::move(name), tensor.cpu().contiguous());
  }

  // A fused matrix or bias, projection by projection.
  void AddParts(const std::string& layer, const char* suffix, FusedLinear which,
                const ModelConfig& config, const at::Tensor& fused) {
    if (!fused.defined()) return;
    for (const Projection projection : ProjectionsOf(which)) {
      const FusedSlice slice = SliceOf(config, projection);
      Add(layer + ModuleName(projection) + suffix, fused.narrow(0, slice.row, slice.rows));
    }
  }

  std::vector<NamedTensor> Views() const {
    std::vector<NamedTensor> views;
    for (const auto& [name, tensor] : tensors_) {
      views.push_back(
          {.name = name,
           .dtype = tensor.scalar_type() == at::kFloat ? TensorDType::kF32 : TensorDType::kBF16,
           .shape = tensor.sizes().vec(),
           .data = {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()}});
    }
    return views;
  }

 private:
  std::vector<std::pair<std::string, at::Tensor>> tensors_;
};

NamedTensors TensorsOf(const ModelWeights& weights) {
  NamedTensors tensors;
  tensors.Add("model.embed_tokens.weight", weights.embedding);
  tensors.Add("model.norm.weight", weights.final_norm);
  if (!weights.config.tied_embeddings) tensors.Add("lm_head.weight", weights.head);
  for (size_t l = 0; l < weights.layers.size(); ++l) {
    const LayerWeights& layer = weights.layers[l];
    const std::string prefix = absl::StrCat("model.layers.", l, ".");
    tensors.Add(prefix + "input_layernorm.weight", layer.input_norm);
    tensors.Add(prefix + "post_attention_layernorm.weight", layer.post_attention_norm);
    tensors.Add(prefix + "self_attn.q_norm.weight", layer.q_norm);
    tensors.Add(prefix + "self_attn.k_norm.weight", layer.k_norm);
    for (int i = 0; i < kFusedLinearCount; ++i) {
      const auto which = static_cast<FusedLinear>(i);
      tensors.AddParts(prefix, ".weight", which, weights.config, layer.at(which).weight);
      tensors.AddParts(prefix, ".bias", which, weights.config, layer.at(which).bias);
    }
  }
  return tensors;
}

}  // namespace

absl::StatusOr<std::string> SerializeModelWeights(const DecoderModel& model) {
  return AtTorchBoundary("writing a model", [&]() -> absl::StatusOr<std::string> {
    const c10::InferenceMode guard;
    const NamedTensors tensors = TensorsOf(*model.weights());
    SafetensorsWriteOptions options;
    options.metadata = {{"format", "pt"}};  // transformers refuses a file without it
    options.require_finite = true;
    return SerializeSafetensors(tensors.Views(), options);
  });
}

}  // namespace wardtune
