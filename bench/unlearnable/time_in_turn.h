// Two trainings timed in turn, step by step. Thread safety: belongs to the caller's thread.
#ifndef WARDTUNE_BENCH_UNLEARNABLE_TIME_IN_TURN_H_
#define WARDTUNE_BENCH_UNLEARNABLE_TIME_IN_TURN_H_

#include <algorithm>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "worker/training/trainer.h"

namespace wardtune {

// Makes both trainers by `create(streams)`, then runs each step of the one in turn with one of the
// other, so that both see the machine in the same mood. Returns a JSON object: the steps, each
// trainer's seconds with what it does before its first step, and the median ratio of two steps.
// Errors: those of `create` and of the steps.
template <typename Create>
absl::StatusOr<std::string> TimeInTurn(Clock& clock, const Create& create,
                                       const std::vector<TrainingStream>& with_streams,
                                       const std::vector<TrainingStream>& without_streams) {
  const absl::Duration start = clock.Monotonic();
  WT_ASSIGN_OR_RETURN(const auto without_trainer, create(without_streams));
  const absl::Duration made = clock.Monotonic();
  WT_ASSIGN_OR_RETURN(const auto with_trainer, create(with_streams));
  auto& with = *with_trainer;
  auto& without = *without_trainer;
  std::vector<double> ratios;
  double seconds_with = absl::ToDoubleSeconds(clock.Monotonic() - made);
  double seconds_without = absl::ToDoubleSeconds(made - start);
  while (!with.done()) {
    const bool with_first = ratios.size() % 2 == 0;
    WT_ASSIGN_OR_RETURN(const StepReport first, (with_first ? with : without).Step());
    WT_ASSIGN_OR_RETURN(const StepReport second, (with_first ? without : with).Step());
    const StepReport& step = with_first ? first : second;
    const StepReport& plain = with_first ? second : first;
    ratios.push_back(step.seconds / plain.seconds);
    seconds_with += step.seconds;
    seconds_without += plain.seconds;
  }
  std::sort(ratios.begin(), ratios.end());
  return absl::StrFormat(
      "{\"steps\": %d, \"train_seconds\": %.2f, \"train_seconds_without_guard\": %.2f, "
      "\"median_step_ratio\": %.4f}",
      ratios.size(), seconds_with, seconds_without, ratios[ratios.size() / 2]);
}

}  // namespace wardtune

#endif  // WARDTUNE_BENCH_UNLEARNABLE_TIME_IN_TURN_H_
