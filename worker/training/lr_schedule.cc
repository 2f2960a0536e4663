#include "worker/training/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace wardtune {

absl::Status ValidateLrSchedule(const LrScheduleOptions& options) {
  // Written so that NaN fails.
  if (!(options.peak > 0.0 && options.peak <= 1.0)) {
    return absl::InvalidArgumentError("learning_rate: must be above 0 and at most 1");
  }
  if (!(options.warmup_ratio >= 0.0 && options.warmup_ratio <= 1.0)) {
    return absl::InvalidArgumentError("warmup_ratio: must be in 0..1");
  }
  return absl::OkStatus();
}

double LearningRateAt(const LrScheduleOptions& options, int64_t step, int64_t total_steps) {
  // The last step is never one of warm-up: a run of one step would have no rate but 0.
  const auto warmup = std::min(static_cast<int64_t>(std::ceil(options.warmup_ratio * total_steps)),
                               total_steps - 1);
  if (step < warmup) {
    return options.peak * static_cast<double>(step) / static_cast<double>(warmup);
  }
  const double progress = static_cast<double>(step - warmup) /
                          static_cast<double>(std::max<int64_t>(1, total_steps - warmup));
  switch (options.decay) {
    case LrDecay::kConstant:
      return options.peak;
    case LrDecay::kLinear:
      return options.peak * std::max(0.0, 1.0 - progress);
    case LrDecay::kCosine:
      return options.peak * std::max(0.0, 0.5 * (1.0 + std::cos(std::numbers::pi * progress)));
  }
  return options.peak;
}

}  // namespace wardtune
