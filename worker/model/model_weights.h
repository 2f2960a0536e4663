// The weights of a decoder as tensors, laid out for the arithmetic: projections that read the same
// input are one matrix.
// Thread safety: immutable once built.
#ifndef WARDTUNE_WORKER_MODEL_MODEL_WEIGHTS_H_
#define WARDTUNE_WORKER_MODEL_MODEL_WEIGHTS_H_

#include <ATen/core/Tensor.h>

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "worker/model/adapter.h"
#include "worker/model/model_config.h"
#include "worker/model/rope.h"

namespace wardtune {

// The matrices of a layer, each one GEMM: q, k and v share their input, and so do gate and up.
enum class FusedLinear { kQkv = 0, kO, kGateUp, kDown };
inline constexpr int kFusedLinearCount = 4;

// Where a projection's rows lie inside its fused matrix.
struct FusedSlice {
  FusedLinear linear;
  int64_t row = 0;  // first output row
  int64_t rows = 0;
};
FusedSlice SliceOf(const ModelConfig& config, Projection projection);
// The projections of a fused matrix, from its first row to its last.
std::vector<Projection> ProjectionsOf(FusedLinear linear);

struct LinearWeights {
  at::Tensor weight;  // [out, in], compute type
  at::Tensor bias;    // [out], compute type, or undefined
};

struct LayerWeights {
  at::Tensor input_norm;           // [hidden], fp32
  at::Tensor post_attention_norm;  // [hidden], fp32
  at::Tensor q_norm;               // [head_dim], fp32, or undefined
  at::Tensor k_norm;
  std::array<LinearWeights, kFusedLinearCount> linear;

  const LinearWeights& at(FusedLinear which) const { return linear[static_cast<int>(which)]; }
  LinearWeights& at(FusedLinear which) { return linear[static_cast<int>(which)]; }
};

struct ModelWeights {
  ModelConfig config;
  at::ScalarType dtype = at::kFloat;  // kFloat or kBFloat16
  at::Device device = at::kCPU;
  at::Tensor embedding;  // [vocab, hidden], compute type
  std::vector<LayerWeights> layers;
  at::Tensor final_norm;  // [hidden], fp32
  at::Tensor head;        // [vocab, hidden]; the same tensor as embedding when tied
  RopeFrequencies rope;

  // Every tensor with a stable name, in a fixed order.
  std::vector<std::pair<std::string, at::Tensor>> Named() const;
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_MODEL_WEIGHTS_H_
