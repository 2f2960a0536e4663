// Lisa (Huang et al., "Lazy Safety Alignment", NeurIPS 2024, arXiv 2405.18641), a baseline of the
// evidence bench: training takes turns between steps on the customer's rows and steps on the
// provider's, and a proximal term holds each turn to the adapter that it began with.
// Thread safety: none.
#ifndef WARDTUNE_BENCH_UNLEARNABLE_LISA_H_
#define WARDTUNE_BENCH_UNLEARNABLE_LISA_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "worker/training/trainer.h"

namespace wardtune {

struct LisaOptions {
  int64_t customer_steps = 18;  // of a turn
  int64_t safety_steps = 2;     // of the turn after it: a tenth of all, as its authors have it
  double proximal_weight = 1.0;
};

// Trains `options.epochs` passes on `customer`, turns on `safety` between. Each turn has an
// optimizer of its own, where the authors go on with one, and the rate that the schedule has in the
// middle of the customer's turn.
// Errors: INVALID_ARGUMENT for a stream without rows or a turn without steps; those of Trainer.
absl::StatusOr<LoraAdapter> TrainLisa(const TrainerOptions& options, const TrainingStream& customer,
                                      const TrainingStream& safety, const LisaOptions& lisa,
                                      Clock* clock);

}  // namespace wardtune

#endif  // WARDTUNE_BENCH_UNLEARNABLE_LISA_H_
