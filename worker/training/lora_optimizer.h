// The trainable adapter and its AdamW state, fp32 in host memory, whatever the model's device is.
// Thread safety: one object belongs to one thread at a time.
#ifndef WARDTUNE_WORKER_TRAINING_LORA_OPTIMIZER_H_
#define WARDTUNE_WORKER_TRAINING_LORA_OPTIMIZER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/model/adapter.h"
#include "worker/model/lora_runtime.h"
#include "worker/training/adamw.h"
#include "worker/training/decoder_backward.h"

namespace wardtune {

class LoraOptimizer {
 public:
  LoraOptimizer(const ModelConfig& config, LoraAdapter start, const AdamWOptions& options);

  const LoraAdapter& adapter() const { return adapter_; }

  // Takes the gradients of a step out of the fused layout.
  void SetGradients(const LoraGradients& gradients);
  // What SetGradients took, for the other processes' to be added.
  std::span<float> gradients() { return gradient_; }
  // Adds weight * (adapter - anchor) to the gradients. REQUIRES: both have the same shapes.
  void AddProximal(const LoraAdapter& anchor, double weight);
  // The L2 norm of gradients(), by which Apply clips; NaN or infinite when any of them is.
  double MeasureNorm();
  // Applies them, scaled so that their norm is at most max_norm (0: as they are). `step` counts
  // from
  // 1. REQUIRES: MeasureNorm returned a finite norm.
  void Apply(int64_t step, double learning_rate, double max_norm);

  // Adapter and moments as safetensors bytes; `metadata` comes back from Restore.
  absl::StatusOr<std::string> Save(const std::map<std::string, std::string>& metadata) const;
  // Errors: INVALID_ARGUMENT for damaged bytes or other shapes; nothing is changed then.
  // `accept` sees the metadata first and may refuse with its own status.
  absl::Status Restore(
      std::string_view bytes,
      const std::function<absl::Status(const std::map<std::string, std::string>&)>& accept);

 private:
  // Where one matrix lies in the flat vectors below.
  struct Segment {
    int64_t layer;
    FusedLinear linear;
    LoraBlock block;
    bool is_a;
    int64_t begin;
    int64_t size;
  };
  std::vector<float>& MatrixOf(const Segment& segment);
  void SetGradient(const Segment& segment, const LoraGradients& gradients);

  const AdamWOptions options_;
  LoraAdapter adapter_;
  std::vector<Segment> segments_;
  std::vector<float> gradient_;  // all matrices one behind the other
  std::vector<float> moment1_;
  std::vector<float> moment2_;
  double gradient_norm_ = 0.0;
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_TRAINING_LORA_OPTIMIZER_H_
