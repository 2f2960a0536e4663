#include "worker/training/full_parameter_optimizer.h"

#include <ATen/Parallel.h>

#include <cmath>

#include "worker/model/elementwise_kernels.h"
#include "worker/model/torch_ops.h"

namespace wardtune {
namespace {

constexpr int64_t kNumbersPerPiece = 1 << 16;

float* Numbers(const at::Tensor& tensor) { return tensor.mutable_data_ptr<float>(); }

at::Tensor HostZeros(const at::Tensor& like) { return at::zeros(like.sizes(), at::kFloat); }

}  // namespace

FullParameterOptimizer::FullParameterOptimizer(const ModelWeights& shape,
                                               const AdamWOptions& options)
    : options_(options) {
  for (const LayerWeights& layer : shape.layers) {
    layers_.emplace_back();
    for (int i = 0; i < kFusedLinearCount; ++i) {
      const at::Tensor& weight = layer.linear[i].weight;
      layers_.back()[i] = {HostZeros(weight), {}, HostZeros(weight), HostZeros(weight)};
    }
  }
}

void FullParameterOptimizer::SetGradients(const WeightGradients& gradients) {
  for (size_t l = 0; l < layers_.size(); ++l) {
    for (int i = 0; i < kFusedLinearCount; ++i) {
      layers_[l][i].gradient = gradients.layers[l][i].to(at::kCPU);
    }
  }
}

std::vector<std::span<float>> FullParameterOptimizer::gradients() {
  std::vector<std::span<float>> spans;
  for (auto& layer : layers_) {
    for (Matrix& m : layer) {
      spans.emplace_back(Numbers(m.gradient), static_cast<size_t>(m.gradient.numel()));
    }
  }
  return spans;
}

double FullParameterOptimizer::MeasureNorm() {
  double sum = 0.0;
  for (const auto& layer : layers_) {
    for (const Matrix& m : layer) {
      const double norm = at::norm(m.gradient).item<double>();
      sum += norm * norm;
    }
  }
  gradient_norm_ = std::sqrt(sum);
  return gradient_norm_;
}

void FullParameterOptimizer::Apply(int64_t step, double learning_rate, double max_norm) {
  const AdamWStep kernel_step =
      MakeAdamWStep(options_, step, learning_rate, gradient_norm_, max_norm);
  for (auto& layer : layers_) {
    for (Matrix& m : layer) {
      float* const delta = Numbers(m.delta);
      const float* const gradient = Numbers(m.gradient);
      float* const moment1 = Numbers(m.moment1);
      float* const moment2 = Numbers(m.moment2);
      at::parallel_for(0, m.delta.numel(), kNumbersPerPiece, [&](int64_t begin, int64_t end) {
        BestCpuKernels().adamw(kernel_step, delta, gradient, moment1, moment2, begin, end);
      });
      m.gradient = at::Tensor();
    }
  }
}

void FullParameterOptimizer::Write(const ModelWeights& base, ModelWeights& to) const {
  for (size_t l = 0; l < layers_.size(); ++l) {
    for (int i = 0; i < kFusedLinearCount; ++i) {
      const at::Tensor wide = base.layers[l].linear[i].weight.to(at::kFloat);
      const at::Tensor delta = layers_[l][i].delta.to(base.device);
      // Adding zero would turn -0 into +0.
      to.layers[l].linear[i].weight.copy_(wide.where(delta.eq(0), wide + delta));
    }
  }
}

WeightDelta FullParameterOptimizer::Delta(const ModelConfig& config) const {
  WeightDelta delta;
  for (const auto& layer : layers_) {
    delta.layers.emplace_back();
    for (const Projection projection : kAllProjections) {
      const FusedSlice slice = SliceOf(config, projection);
      const at::Tensor& fused = layer[static_cast<int>(slice.linear)].delta;
      const int64_t cols = fused.size(1);
      delta.layers.back()[static_cast<int>(projection)] = {
          slice.rows, cols,
          std::span<const float>(Numbers(fused) + slice.row * cols,
                                 static_cast<size_t>(slice.rows * cols))};
    }
  }
  return delta;
}

}  // namespace wardtune
