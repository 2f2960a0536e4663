// A decoder-only language model out of a Hugging Face folder, and its forward pass for scoring.
//
// DecoderModel is a cheap handle on immutable weights: copies share them, and FoldAdapter gives a
// second handle that shares everything it did not change. Training and generation take handles, so
// "with the security vector" and "without" are two handles, never a switch inside one model.
// Thread safety: all const methods and the functions below may be called from any thread; they
// share LibTorch's intra-op threads, so concurrent calls are correct but not faster. Errors of
// everything here: INVALID_ARGUMENT for bad input, NOT_FOUND for a missing file, RESOURCE_EXHAUSTED
// when memory runs out, INTERNAL for a failure inside LibTorch.
#ifndef WARDTUNE_WORKER_MODEL_DECODER_H_
#define WARDTUNE_WORKER_MODEL_DECODER_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/model/adapter.h"
#include "worker/model/model_config.h"

namespace wardtune {

struct ModelWeights;  // worker/model/model_weights.h; internal to worker/

enum class ComputeType {
  kAuto,      // bf16 where the device multiplies it fast (avx512_bf16, amx_bf16, CUDA), else fp32
  kFloat32,   // exact enough to compare with transformers at 1e-3
  kBfloat16,  // weights and activations in bf16; softmax, norms and loss still in fp32
};

// "auto", "float32" or "bfloat16".
std::string_view ComputeTypeName(ComputeType type);

struct DecoderOptions {
  ComputeType compute_type = ComputeType::kAuto;
  // "cpu", "cuda", "cuda:1" or "auto" (CUDA where there is one).
  std::string device = "cpu";
};

// What options come to on this machine.
struct ComputeTarget {
  std::string device;  // "cpu", "cuda:0"
  ComputeType type = ComputeType::kFloat32;
};
// Errors: INVALID_ARGUMENT for a device that does not exist here or a name that is none.
absl::StatusOr<ComputeTarget> ResolveCompute(const DecoderOptions& options);

class DecoderModel {
 public:
  // Reads config.json and model.safetensors (or the shards that model.safetensors.index.json
  // names). Every tensor's presence, shape and type is checked before use.
  static absl::StatusOr<DecoderModel> Load(const std::string& folder,
                                           const DecoderOptions& options);

  const ModelConfig& config() const;
  // kFloat32 or kBfloat16.
  ComputeType compute_type() const;
  // "cpu", "cuda:0".
  std::string device_name() const;
  // Bytes of the weights, shared parts counted once.
  int64_t weight_bytes() const;

  // SHA-256 over the names, types, shapes and bytes of all weights as they are computed with.
  std::string WeightsDigest() const;

  // For worker/ code that computes with the weights.
  explicit DecoderModel(std::shared_ptr<const ModelWeights> weights);
  const std::shared_ptr<const ModelWeights>& weights() const { return weights_; }

 private:
  std::shared_ptr<const ModelWeights> weights_;
};

// W' = W + sign * scale * B A for every adapted matrix, computed in fp32 and rounded once to the
// compute type. `model` is unchanged; the result shares all untouched weights with it. Strip by
// going back to `model`; sign = -1 subtracts, which equals the original only up to that rounding.
absl::StatusOr<DecoderModel> FoldAdapter(const DecoderModel& model, const LoraAdapter& adapter,
                                         double sign = 1.0);

// The adapters that take part in a forward pass; non-owning, may be empty.
using ActiveAdapters = std::span<const LoraAdapter* const>;

// A dense matrix of fp32 numbers, row-major.
struct FloatMatrix {
  int64_t rows = 0;
  int64_t cols = 0;
  std::vector<float> values;

  std::span<const float> row(int64_t i) const {
    return std::span<const float>(values).subspan(i * cols, cols);
  }
};

// The logits after the last token of each sequence: [sequences.size(), vocab]. The sequences are
// packed into one stream; none sees another.
absl::StatusOr<FloatMatrix> LastTokenLogits(const DecoderModel& model, ActiveAdapters adapters,
                                            std::span<const std::vector<int32_t>> sequences);

// The logits after every token of one sequence: [sequence.size(), vocab].
absl::StatusOr<FloatMatrix> AllLogits(const DecoderModel& model, ActiveAdapters adapters,
                                      std::span<const int32_t> sequence);

// Process-wide settings of LibTorch. Call once in main, before the first model is loaded: results
// are bitwise repeatable only for a fixed number of threads.
struct ComputeRuntimeOptions {
  int threads = 0;  // 0: one per core that this process may use
};
void ConfigureComputeRuntime(const ComputeRuntimeOptions& options);
// The threads in force.
int64_t ComputeThreads();

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_DECODER_H_
