// The output head and the losses, at supervised positions only and a chunk of rows at a time, so
// that no [tokens, vocabulary] matrix ever exists. Thread safety: pure functions on their
// arguments.
#ifndef WARDTUNE_WORKER_TRAINING_SUPERVISED_LOSS_H_
#define WARDTUNE_WORKER_TRAINING_SUPERVISED_LOSS_H_

#include <ATen/core/Tensor.h>

#include "worker/model/model_weights.h"

namespace wardtune {

// Rows whose logits exist at once; with a vocabulary of 49152 they are 24 MiB in bf16.
inline constexpr int64_t kHeadChunkRows = 256;

// The functions take the residual stream [tokens, hidden] and the int64 numbers of the rows to
// look at (each at most once), return the summed loss, and set those rows of d_residual to
// weight * (gradient of that sum).

// -log p(target) of each row, in nats; targets is int64 [n].
double CrossEntropyLoss(const ModelWeights& weights, const at::Tensor& residual,
                        const at::Tensor& rows, const at::Tensor& targets, double weight,
                        at::Tensor& d_residual);

// What KL(teacher || student) of each row is above `slack`, in nats, and nothing where it is less,
// as Kingma et al. leave some bits free (arXiv 1606.04934, section C.8); `teacher_residual` [n,
// hidden] is the residual stream of the teacher at the same positions, seen through the same head.
double KlToTeacherLoss(const ModelWeights& weights, const at::Tensor& residual,
                       const at::Tensor& rows, const at::Tensor& teacher_residual, double slack,
                       double weight, at::Tensor& d_residual);

// Mean over the hidden dimensions of the squared distance between the final norm's outputs for the
// teacher and for the student: how SBR ("Safety Anchor", ICML 2026) holds a state.
double StateToTeacherLoss(const ModelWeights& weights, const at::Tensor& residual,
                          const at::Tensor& rows, const at::Tensor& teacher_residual, double weight,
                          at::Tensor& d_residual);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_TRAINING_SUPERVISED_LOSS_H_
