// AdamW (Loshchilov & Hutter, arXiv 1711.05101): the decay is decoupled from the gradient.
// Thread safety: plain data and a pure function.
#ifndef WARDTUNE_WORKER_TRAINING_ADAMW_H_
#define WARDTUNE_WORKER_TRAINING_ADAMW_H_

#include <cstdint>

#include "worker/model/elementwise_kernels.h"

namespace wardtune {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.0;
};

// The kernel's constants in step `step`, from 1. Gradients of the norm `gradient_norm` are scaled
// so that it is at most `max_norm` (0: as they are).
AdamWStep MakeAdamWStep(const AdamWOptions& options, int64_t step, double learning_rate,
                        double gradient_norm, double max_norm);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_TRAINING_ADAMW_H_
