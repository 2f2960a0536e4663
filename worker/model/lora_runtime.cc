#include "worker/model/lora_runtime.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/model/lanes.h"
#include "worker/model/torch_ops.h"

namespace wardtune {
namespace {

at::Tensor View(const std::vector<float>& values, int64_t rows, int64_t cols) {
  return at::from_blob(const_cast<float*>(values.data()), {rows, cols}, at::kFloat);
}

using Blocks = std::vector<std::pair<const LoraAdapter*, LoraBlock>>;

// Where each adapter's factors lie in a fused matrix.
Blocks Stack(const ModelConfig& config, ActiveAdapters adapters, FusedLinear which) {
  Blocks blocks;
  int64_t rank = 0;
  for (const LoraAdapter* adapter : adapters) {
    for (const LoraBlock& block : BlocksOf(config, adapter->spec, which, rank)) {
      blocks.emplace_back(adapter, block);
      rank += block.rank;
    }
  }
  return blocks;
}

void MakeLayer(const ModelWeights& weights, ActiveAdapters adapters, int64_t layer,
               std::array<FusedLora, kFusedLinearCount>& factors) {
  for (int which = 0; which < kFusedLinearCount; ++which) {
    const Blocks blocks = Stack(weights.config, adapters, static_cast<FusedLinear>(which));
    if (blocks.empty()) continue;
    const int64_t rank = blocks.back().second.rank_begin + blocks.back().second.rank;
    const at::Tensor& w = weights.layers[layer].linear[which].weight;
    FusedLora& fused = factors[which];
    fused.a = at::empty({rank, w.size(1)}, weights.dtype);
    fused.b = at::zeros({w.size(0), rank}, weights.dtype);
    for (const auto& [adapter, block] : blocks) {
      const LoraMatrices& m = adapter->at(layer, block.projection);
      fused.a.narrow(0, block.rank_begin, block.rank).copy_(View(m.a, block.rank, w.size(1)));
      fused.BlockOfB(block).copy_(View(m.b, block.out_rows, block.rank) * adapter->spec.scale());
      fused.blocks.push_back(block);
    }
    fused.a = fused.a.to(weights.device);
    fused.b = fused.b.to(weights.device);
  }
}

}  // namespace

absl::Status CheckAdapterFits(const LoraAdapter& adapter, const ModelConfig& config) {
  if (static_cast<int64_t>(adapter.layers.size()) != config.num_layers) {
    return absl::InvalidArgumentError(absl::StrCat("the adapter has ", adapter.layers.size(),
                                                   " layers, the model ", config.num_layers));
  }
  for (int64_t l = 0; l < config.num_layers; ++l) {
    for (Projection projection : adapter.spec.targets) {
      const ProjectionShape shape = ShapeOf(config, projection);
      const LoraMatrices& m = adapter.at(l, projection);
      if (static_cast<int64_t>(m.a.size()) != adapter.spec.rank * shape.in ||
          static_cast<int64_t>(m.b.size()) != adapter.spec.rank * shape.out) {
        return absl::InvalidArgumentError(
            absl::StrCat("the adapter's ", std::string(ProjectionName(projection)), " of layer ", l,
                         " does not have the model's shape"));
      }
    }
  }
  return absl::OkStatus();
}

std::vector<LoraBlock> BlocksOf(const ModelConfig& config, const LoraSpec& spec, FusedLinear which,
                                int64_t rank_begin) {
  std::vector<LoraBlock> blocks;
  for (Projection projection : ProjectionsOf(which)) {
    if (std::find(spec.targets.begin(), spec.targets.end(), projection) == spec.targets.end()) {
      continue;
    }
    const FusedSlice slice = SliceOf(config, projection);
    blocks.push_back({projection, slice.row, slice.rows, rank_begin, spec.rank});
    rank_begin += spec.rank;
  }
  return blocks;
}

absl::StatusOr<LoraRuntime> MakeLoraRuntime(const ModelWeights& weights, ActiveAdapters adapters) {
  LoraRuntime runtime;
  if (adapters.empty()) return runtime;
  const ModelConfig& config = weights.config;
  for (const LoraAdapter* adapter : adapters)
    WT_RETURN_IF_ERROR(CheckAdapterFits(*adapter, config));
  runtime.layers.resize(config.num_layers);
  ForEachInParallel(config.num_layers,
                    [&](int64_t l) { MakeLayer(weights, adapters, l, runtime.layers[l]); });
  return runtime;
}

LoraRuntime FactorsOfFirst(const LoraRuntime& stacked, const ModelConfig& config,
                           const LoraSpec& first) {
  LoraRuntime runtime;
  runtime.layers.resize(stacked.layers.size());
  for (int which = 0; which < kFusedLinearCount; ++which) {
    const std::vector<LoraBlock> blocks = BlocksOf(config, first, static_cast<FusedLinear>(which));
    if (blocks.empty()) continue;
    const int64_t rank = blocks.back().rank_begin + blocks.back().rank;
    for (size_t l = 0; l < stacked.layers.size(); ++l) {
      const FusedLora& both = stacked.layers[l][which];
      runtime.layers[l][which] = {both.a.narrow(0, 0, rank), both.b.narrow(1, 0, rank), blocks};
    }
  }
  return runtime;
}

}  // namespace wardtune
