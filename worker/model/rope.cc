#include "worker/model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace wardtune {
namespace {

constexpr double kTwoPi = 2.0 * std::numbers::pi;

// Low frequencies are divided by factor, high ones kept, those between are interpolated.
void ScaleLlama3(const RopeScaling& scaling, std::vector<float>& inv_freq) {
  const double context = static_cast<double>(scaling.original_max_positions);
  for (float& f : inv_freq) {
    const double wavelength = kTwoPi / f;
    if (wavelength > context / scaling.low_freq_factor) {
      f = static_cast<float>(f / scaling.factor);
    } else if (wavelength >= context / scaling.high_freq_factor) {
      const double smooth = (context / wavelength - scaling.low_freq_factor) /
                            (scaling.high_freq_factor - scaling.low_freq_factor);
      f = static_cast<float>((1.0 - smooth) * f / scaling.factor + smooth * f);
    }
  }
}

void ScaleYarn(const ModelConfig& config, RopeFrequencies& rope) {
  const RopeScaling& scaling = config.rope_scaling;
  const double dim = static_cast<double>(config.head_dim);
  // The dimension whose wave turns `rotations` times over the length of pre-training.
  const auto correction_dim = [&](double rotations) {
    return dim *
           std::log(static_cast<double>(scaling.original_max_positions) / (rotations * kTwoPi)) /
           (2.0 * std::log(config.rope_theta));
  };
  const double low = std::max(std::floor(correction_dim(scaling.beta_fast)), 0.0);
  double high = std::min(std::ceil(correction_dim(scaling.beta_slow)), dim - 1.0);
  if (low == high) high += 0.001;
  for (size_t i = 0; i < rope.inv_freq.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    const double f = rope.inv_freq[i];
    rope.inv_freq[i] = static_cast<float>(f / scaling.factor * ramp + f * (1.0 - ramp));
  }
  rope.amplitude = scaling.attention_factor >= 0.0 ? scaling.attention_factor
                   : scaling.factor <= 1.0         ? 1.0
                                                   : 0.1 * std::log(scaling.factor) + 1.0;
}

}  // namespace

RopeFrequencies ComputeRopeFrequencies(const ModelConfig& config) {
  RopeFrequencies rope;
  for (int64_t i = 0; i < config.head_dim; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(config.head_dim);
    rope.inv_freq.push_back(1.0f / std::pow(static_cast<float>(config.rope_theta), exponent));
  }
  switch (config.rope_scaling.type) {
    case RopeScalingType::kNone:
    case RopeScalingType::kDynamic:
      break;
    case RopeScalingType::kLinear:
      for (float& f : rope.inv_freq) f = static_cast<float>(f / config.rope_scaling.factor);
      break;
    case RopeScalingType::kLlama3:
      ScaleLlama3(config.rope_scaling, rope.inv_freq);
      break;
    case RopeScalingType::kYarn:
      ScaleYarn(config, rope);
      break;
  }
  return rope;
}

}  // namespace wardtune
