// Vaccine (Huang et al., "Vaccine: Perturbation-aware Alignment", NeurIPS 2024, arXiv 2402.01109),
// a baseline of the evidence bench: before any customer, the provider aligns the base on rows of
// its own while the hidden states are pushed where the loss rises most, so that what a customer's
// rows do to them later undoes less of it. The customer then trains as ever.
// Thread safety: none.
#ifndef WARDTUNE_BENCH_UNLEARNABLE_VACCINE_H_
#define WARDTUNE_BENCH_UNLEARNABLE_VACCINE_H_

#include <functional>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "worker/training/trainer.h"

namespace wardtune {

// Trains an adapter on `alignment`, whose model is the base. Every step runs its rows twice
// (algorithm 1 of the paper): once for the gradient of each layer's attention output, where the
// authors' code hooks in, and once with the outputs shifted along it. `radius` is the L2 norm of
// the shift over all layers and tokens of a step; 0 is ordinary training. A step's rows go through
// the model in one piece, as that norm is theirs together: micro_batch_tokens is not looked at.
// `on_step` gets every report, whose loss is the shifted one.
// Errors: INVALID_ARGUMENT for a radius below 0 or not finite, for another objective than
// cross-entropy, validation rows, checkpointed activations, several processes and a frozen adapter,
// and as Trainer::Create; ABORTED when a loss or a gradient is not finite.
absl::StatusOr<LoraAdapter> TrainVaccine(
    const TrainerOptions& options, const TrainingStream& alignment, double radius, Clock* clock,
    const std::function<void(const StepReport&)>& on_step = [](const StepReport&) {});

}  // namespace wardtune

#endif  // WARDTUNE_BENCH_UNLEARNABLE_VACCINE_H_
