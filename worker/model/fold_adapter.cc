#include "absl/status/status.h"
#include "base/status_macros.h"
#include "worker/model/decoder.h"
#include "worker/model/lora_runtime.h"
#include "worker/model/model_weights.h"
#include "worker/model/torch_boundary.h"
#include "worker/model/torch_ops.h"

namespace wardtune {
namespace {

at::Tensor FactorOn(at::Device device, const std::vector<float>& values, int64_t rows,
                    int64_t cols) {
  return at::from_blob(const_cast<float*>(values.data()), {rows, cols}, at::kFloat).to(device);
}

// The fused matrix with the deltas of its blocks added.
at::Tensor Folded(const at::Tensor& weight, const std::vector<LoraBlock>& blocks,
                  const LoraAdapter& adapter, int64_t layer, double factor) {
  at::Tensor full = weight.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
  for (const LoraBlock& block : blocks) {
    const LoraMatrices& m = adapter.at(layer, block.projection);
    const at::Tensor a = FactorOn(full.device(), m.a, block.rank, weight.size(1));
    const at::Tensor b = FactorOn(full.device(), m.b, block.out_rows, block.rank);
    full.narrow(0, block.out_begin, block.out_rows).addmm_(b, a, 1.0, factor);
  }
  return full.to(weight.scalar_type());
}

}  // namespace

absl::StatusOr<DecoderModel> FoldAdapter(const DecoderModel& model, const LoraAdapter& adapter,
                                         double sign) {
  if (sign != 1.0 && sign != -1.0) {
    return absl::InvalidArgumentError("FoldAdapter: sign must be 1 or -1");
  }
  WT_RETURN_IF_ERROR(CheckAdapterFits(adapter, model.config()));
  return AtTorchBoundary("folding an adapter", [&]() -> absl::StatusOr<DecoderModel> {
    const c10::InferenceMode guard;
    auto folded = std::make_shared<ModelWeights>(*model.weights());
    for (size_t l = 0; l < folded->layers.size(); ++l) {
      for (int i = 0; i < kFusedLinearCount; ++i) {
        const auto blocks = BlocksOf(folded->config, adapter.spec, static_cast<FusedLinear>(i));
        if (blocks.empty()) continue;
        at::Tensor& weight = folded->layers[l].linear[i].weight;
        weight = Folded(weight, blocks, adapter, l, sign * adapter.spec.scale());
      }
    }
    return DecoderModel(std::move(folded));
  });
}

}  // namespace wardtune
