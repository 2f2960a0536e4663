#include "worker/model/weight_difference.h"

#include <cstdint>

#include "worker/model/model_weights.h"
#include "worker/model/torch_boundary.h"
#include "worker/model/torch_ops.h"

namespace wardtune {
namespace {

at::Tensor Rows(const ModelWeights& weights, size_t layer, const FusedSlice& slice) {
  return weights.layers[layer].at(slice.linear).weight.narrow(0, slice.row, slice.rows);
}

}  // namespace

absl::StatusOr<WeightDifference> WeightDifference::Between(const DecoderModel& model,
                                                           const DecoderModel& from) {
  const ModelWeights& left = *model.weights();
  const ModelWeights& right = *from.weights();
  if (left.layers.size() != right.layers.size()) {
    return absl::InvalidArgumentError("the models have different numbers of layers");
  }
  return AtTorchBoundary("comparing weights", [&]() -> absl::StatusOr<WeightDifference> {
    const c10::InferenceMode guard;
    WeightDifference difference;
    for (size_t l = 0; l < left.layers.size(); ++l) {
      auto& layer = difference.layers_.emplace_back();
      for (const Projection projection : kAllProjections) {
        const at::Tensor a = Rows(left, l, SliceOf(left.config, projection));
        const at::Tensor b = Rows(right, l, SliceOf(right.config, projection));
        if (a.sizes() != b.sizes()) {
          return absl::InvalidArgumentError("the models' weights have different shapes");
        }
        const at::Tensor d = (a.to(at::kFloat) - b.to(at::kFloat)).cpu().contiguous();
        const float* const values = d.const_data_ptr<float>();
        layer[static_cast<int>(projection)] = {d.size(0), d.size(1), {values, values + d.numel()}};
      }
    }
    return difference;
  });
}

WeightDelta WeightDifference::view() const {
  WeightDelta delta;
  for (const auto& layer : layers_) {
    auto& views = delta.layers.emplace_back();
    for (size_t p = 0; p < layer.size(); ++p) {
      views[p] = {layer[p].rows, layer[p].cols, layer[p].values};
    }
  }
  return delta;
}

}  // namespace wardtune
