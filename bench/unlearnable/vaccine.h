// Vaccine (Huang et al., "Vaccine: Perturbation-aware Alignment", NeurIPS 2024, arXiv 2402.01109),
// a baseline of the evidence bench: before any customer, the provider aligns the base on rows of
// its own while the hidden states are pushed where the loss rises most, so that what a customer's
// rows do to them later undoes less of it. The customer then trains as ever.
// Thread safety: none.
#ifndef WARDTUNE_BENCH_UNLEARNABLE_VACCINE_H_
#define WARDTUNE_BENCH_UNLEARNABLE_VACCINE_H_

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "worker/training/trainer.h"

namespace wardtune {

// Trains an adapter on `alignment`, whose model is the base. Every step runs its rows twice
// (algorithm 1 of the paper): once for the gradient of each layer's attention output, where the
// authors' code hooks in, and once with the outputs shifted along it. `radius` is the L2 norm of
// the shift over all layers and tokens of a step; 0 is ordinary training. Errors: INVALID_ARGUMENT
// for a radius below 0 or not finite, for validation rows, checkpointed activations and several
// processes, and as Trainer::Create; ABORTED when a loss is not finite.
absl::StatusOr<LoraAdapter> TrainVaccine(const TrainerOptions& options,
                                         const TrainingStream& alignment, double radius,
                                         Clock* clock);

}  // namespace wardtune

#endif  // WARDTUNE_BENCH_UNLEARNABLE_VACCINE_H_
