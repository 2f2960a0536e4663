// The trainable change of all projections' weights and its AdamW state, fp32 in host memory,
// whatever the model's device is.
//
// What is trained is the difference D from the weights that a run starts on, which begins as zero;
// the forward pass runs on W + D. That is AdamW with fp32 masters W + D, rounded less, and with
// weight decay towards the start instead of towards zero: decay towards zero would unlearn a folded
// security vector and so write its negative into the result.
// Thread safety: one object belongs to one thread at a time.
#ifndef WARDTUNE_WORKER_TRAINING_FULL_PARAMETER_OPTIMIZER_H_
#define WARDTUNE_WORKER_TRAINING_FULL_PARAMETER_OPTIMIZER_H_

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "worker/model/model_weights.h"
#include "worker/model/weight_delta.h"
#include "worker/training/adamw.h"
#include "worker/training/decoder_backward.h"

namespace wardtune {

class FullParameterOptimizer {
 public:
  FullParameterOptimizer(const ModelWeights& shape, const AdamWOptions& options);

  // Takes a step's gradients; on the CPU without a copy, so `gradients` must stay as they are until
  // Apply.
  void SetGradients(const WeightGradients& gradients);
  // What SetGradients took, matrix by matrix, for the other processes' to be added.
  std::vector<std::span<float>> gradients();
  // Their L2 norm, by which Apply clips; NaN or infinite when any of them is.
  double MeasureNorm();
  // As LoraOptimizer::Apply. REQUIRES: MeasureNorm returned a finite norm.
  void Apply(int64_t step, double learning_rate, double max_norm);

  // Sets the projections of `to` to those of `base` + D, added in fp32 and rounded once to the
  // compute type; where D is zero a weight keeps its very bits. REQUIRES: both of the shape.
  void Write(const ModelWeights& base, ModelWeights& to) const;

  // Views that live as long as this object and change with Apply.
  WeightDelta Delta(const ModelConfig& config) const;

 private:
  struct Matrix {
    at::Tensor delta;     // [out, in]
    at::Tensor gradient;  // since SetGradients
    at::Tensor moment1;
    at::Tensor moment2;
  };

  const AdamWOptions options_;
  std::vector<std::array<Matrix, kFusedLinearCount>> layers_;
  double gradient_norm_ = 0.0;
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_TRAINING_FULL_PARAMETER_OPTIMIZER_H_
