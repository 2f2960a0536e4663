#include "worker/training/supervised_loss.h"

#include <algorithm>

#include "worker/model/decoder_forward.h"
#include "worker/model/matrix_product.h"
#include "worker/model/tensor_ops.h"
#include "worker/model/torch_ops.h"

namespace wardtune {
namespace {

// Runs the head chunk by chunk. `loss_in_place(logits, begin, count)` returns the losses of a chunk
// and leaves the gradient in `logits`.
template <typename F>
double ChunkedHead(const ModelWeights& weights, const at::Tensor& residual, const at::Tensor& rows,
                   at::Tensor& d_residual, F loss_in_place) {
  double sum = 0.0;
  for (int64_t begin = 0; begin < rows.size(0); begin += kHeadChunkRows) {
    const int64_t count = std::min(kHeadChunkRows, rows.size(0) - begin);
    const at::Tensor index = rows.narrow(0, begin, count);
    const at::Tensor x = residual.index_select(0, index);
    const NormResult norm = AddRmsNorm(x, {}, weights.final_norm, weights.config.rms_norm_eps);
    at::Tensor logits = TimesTransposed(norm.y, weights.head);
    sum += loss_in_place(logits, begin, count).sum(at::kDouble).template item<double>();
    at::Tensor dx = at::zeros_like(x);
    AddRmsNormGradient(Times(logits, weights.head), x, weights.final_norm, norm.inv_rms, dx);
    d_residual.index_copy_(0, index, dx);
  }
  return sum;
}

}  // namespace

double CrossEntropyLoss(const ModelWeights& weights, const at::Tensor& residual,
                        const at::Tensor& rows, const at::Tensor& targets, double weight,
                        at::Tensor& d_residual) {
  return ChunkedHead(weights, residual, rows, d_residual,
                     [&](at::Tensor& logits, int64_t begin, int64_t count) {
                       return CrossEntropyInPlace(logits, targets.narrow(0, begin, count), weight);
                     });
}

double KlToTeacherLoss(const ModelWeights& weights, const at::Tensor& residual,
                       const at::Tensor& rows, const at::Tensor& teacher_residual, double weight,
                       at::Tensor& d_residual) {
  return ChunkedHead(
      weights, residual, rows, d_residual, [&](at::Tensor& logits, int64_t begin, int64_t count) {
        const at::Tensor teacher = HeadLogits(weights, teacher_residual.narrow(0, begin, count));
        return KlDivergenceInPlace(logits, teacher, weight);
      });
}

double StateToTeacherLoss(const ModelWeights& weights, const at::Tensor& residual,
                          const at::Tensor& rows, const at::Tensor& teacher_residual, double weight,
                          at::Tensor& d_residual) {
  const double eps = weights.config.rms_norm_eps;
  const at::Tensor x = residual.index_select(0, rows);
  const NormResult state = AddRmsNorm(x, {}, weights.final_norm, eps);
  const at::Tensor teacher = AddRmsNorm(teacher_residual, {}, weights.final_norm, eps).y;
  const at::Tensor distance = state.y.to(at::kFloat) - teacher.to(at::kFloat);
  const double share = 1.0 / static_cast<double>(x.size(1));
  const at::Tensor d_state = (distance * (2.0 * share * weight)).to(x.scalar_type());
  at::Tensor dx = at::zeros_like(x);
  AddRmsNormGradient(d_state, x, weights.final_norm, state.inv_rms, dx);
  d_residual.index_copy_(0, rows, dx);
  return share * distance.square().sum(at::kDouble).item<double>();
}

}  // namespace wardtune
