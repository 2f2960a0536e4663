#include "worker/training/adamw.h"

#include <algorithm>
#include <cmath>

namespace wardtune {

AdamWStep MakeAdamWStep(const AdamWOptions& options, int64_t step, double learning_rate,
                        double gradient_norm, double max_norm) {
  const auto t = static_cast<double>(step);
  AdamWStep kernel_step;
  kernel_step.learning_rate = static_cast<float>(learning_rate);
  kernel_step.beta1 = static_cast<float>(options.beta1);
  kernel_step.beta2 = static_cast<float>(options.beta2);
  kernel_step.epsilon = static_cast<float>(options.epsilon);
  kernel_step.decay = static_cast<float>(1.0 - learning_rate * options.weight_decay);
  kernel_step.bias1 = static_cast<float>(1.0 - std::pow(options.beta1, t));
  kernel_step.bias2_sqrt = static_cast<float>(std::sqrt(1.0 - std::pow(options.beta2, t)));
  // The small constant is that of torch's clip_grad_norm_.
  kernel_step.grad_scale =
      max_norm > 0.0 ? static_cast<float>(std::min(1.0, max_norm / (gradient_norm + 1e-6))) : 1.0f;
  return kernel_step;
}

}  // namespace wardtune
