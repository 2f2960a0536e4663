// Learning rates over a run: linear warm-up, then constant, linear or cosine decay to zero. The
// same values as transformers' get_scheduler for these names, where the warm-up ends before the
// run. Thread safety: plain data and pure functions.
#ifndef WARDTUNE_WORKER_TRAINING_LR_SCHEDULE_H_
#define WARDTUNE_WORKER_TRAINING_LR_SCHEDULE_H_

#include <cstdint>

#include "absl/status/status.h"

namespace wardtune {

enum class LrDecay { kConstant, kLinear, kCosine };

struct LrScheduleOptions {
  double peak = 2e-4;
  LrDecay decay = LrDecay::kCosine;
  // Share of all steps spent rising from 0 to peak, rounded up; the last step is not one of them.
  double warmup_ratio = 0.03;
};

// Errors: INVALID_ARGUMENT when peak is not in (0, 1], or warmup_ratio not in [0, 1]; NaN is
// neither.
absl::Status ValidateLrSchedule(const LrScheduleOptions& options);

// The rate of step `step` (0-based) of `total_steps`.
double LearningRateAt(const LrScheduleOptions& options, int64_t step, int64_t total_steps);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_TRAINING_LR_SCHEDULE_H_
