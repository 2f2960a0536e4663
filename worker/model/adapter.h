// A LoRA adapter (Hu et al., arXiv 2106.09685) as plain fp32 numbers in host memory.
//
// For a projection y = W x the adapter adds scale * B (A x), with A [rank, in], B [out, rank] and
// scale = alpha / rank. This is the master copy: what is trained, saved, digested and folded. The
// decoder makes its own copies in its compute type and on its device.
// Thread safety: plain data.
#ifndef WARDTUNE_WORKER_MODEL_ADAPTER_H_
#define WARDTUNE_WORKER_MODEL_ADAPTER_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/model/model_config.h"

namespace wardtune {

// The linear projections of a decoder layer that LoRA may touch.
enum class Projection { kQ = 0, kK, kV, kO, kGate, kUp, kDown };
inline constexpr int kProjectionCount = 7;
inline constexpr std::array<Projection, kProjectionCount> kAllProjections = {
    Projection::kQ,    Projection::kK,  Projection::kV,   Projection::kO,
    Projection::kGate, Projection::kUp, Projection::kDown};

// "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj".
std::string_view ProjectionName(Projection projection);
// Its path inside a layer of the transformers model: "self_attn.q_proj", "mlp.gate_proj".
std::string ModuleName(Projection projection);
// Errors: INVALID_ARGUMENT for any other name.
absl::StatusOr<Projection> ParseProjection(std::string_view name);

struct ProjectionShape {
  int64_t out = 0;
  int64_t in = 0;
};
ProjectionShape ShapeOf(const ModelConfig& config, Projection projection);

struct LoraSpec {
  int64_t rank = 16;
  double alpha = 32.0;
  std::vector<Projection> targets{kAllProjections.begin(), kAllProjections.end()};

  double scale() const { return alpha / static_cast<double>(rank); }
};

// Errors: INVALID_ARGUMENT when rank is outside 1..512 or above the smallest matrix, alpha is not a
// finite positive number, or targets are empty or repeated. The message names the field.
absl::Status ValidateLoraSpec(const LoraSpec& spec, const ModelConfig& config);

// One adapted projection; both row-major. Empty vectors where the projection is not a target.
struct LoraMatrices {
  std::vector<float> a;  // [rank, in]
  std::vector<float> b;  // [out, rank]
  bool empty() const { return a.empty(); }
};

struct LoraAdapter {
  LoraSpec spec;
  // layers[l][static_cast<int>(projection)]
  std::vector<std::array<LoraMatrices, kProjectionCount>> layers;

  const LoraMatrices& at(int64_t layer, Projection projection) const {
    return layers[layer][static_cast<int>(projection)];
  }
  LoraMatrices& at(int64_t layer, Projection projection) {
    return layers[layer][static_cast<int>(projection)];
  }
  int64_t parameter_count() const;
};

// The usual start: A is Kaiming-uniform with a = sqrt(5), which is U(-1/sqrt(in), 1/sqrt(in)), and
// B is zero, so that the adapter changes nothing yet. Equal seeds give equal bytes on every
// machine.
absl::StatusOr<LoraAdapter> InitLora(const ModelConfig& config, const LoraSpec& spec,
                                     uint64_t seed);

// One tensor of an adapter under PEFT's name, for example
// "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight".
struct AdapterTensor {
  std::string name;
  int64_t rows = 0;
  int64_t cols = 0;
  const std::vector<float>* values = nullptr;  // owned by the adapter
};
// In the order of layers, then of Projection, A before B. Valid while `adapter` lives unchanged.
std::vector<AdapterTensor> AdapterTensors(const LoraAdapter& adapter);

// The adapter as the bytes of one safetensors file with PEFT's tensor names; rank, alpha and
// targets are in its metadata. Equal adapters give equal bytes.
absl::StatusOr<std::string> SerializeAdapter(const LoraAdapter& adapter);
// The inverse. Errors: INVALID_ARGUMENT when the bytes are not such a file, a tensor is missing,
// superfluous or of the wrong shape for `config`, or a value is not finite.
absl::StatusOr<LoraAdapter> ParseAdapter(const ModelConfig& config, std::string_view bytes);

// SHA-256 over the spec and all values; equal for equal adapters, whatever file they came from.
std::string AdapterDigest(const LoraAdapter& adapter);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_ADAPTER_H_
