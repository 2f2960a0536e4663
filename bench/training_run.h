// Runs a trainer to its end, telling how far it is. Thread safety: as the trainer.
#ifndef WARDTUNE_BENCH_TRAINING_RUN_H_
#define WARDTUNE_BENCH_TRAINING_RUN_H_

#include <cstdint>
#include <iostream>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "worker/training/trainer.h"

namespace wardtune {

// Of LoRA or of all parameters. Prints every `every` steps and the last one to standard error.
// Errors: those of Step.
template <typename AnyTrainer>
absl::Status RunToEnd(AnyTrainer& trainer, const char* what, int64_t every = 20) {
  while (!trainer.done()) {
    WT_ASSIGN_OR_RETURN(const StepReport report, trainer.Step());
    if (report.step % every == 0 || trainer.done()) {
      std::cerr << absl::StrFormat("   %s: step %d of %d, loss %.4f\n", what, report.step,
                                   report.total_steps, report.loss);
    }
  }
  return absl::OkStatus();
}

}  // namespace wardtune

#endif  // WARDTUNE_BENCH_TRAINING_RUN_H_
