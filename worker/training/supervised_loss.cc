#include "worker/training/supervised_loss.h"

#include <algorithm>

#include "worker/model/decoder_forward.h"
#include "worker/model/matrix_product.h"
#include "worker/model/tensor_ops.h"
#include "worker/model/torch_ops.h"

namespace wardtune {
namespace {

// `loss(y, d_y)` of the final norm's output y at these rows leaves the gradient in d_y, which stays
// undefined where it is zero altogether.
template <typename F>
double BehindFinalNorm(const ModelWeights& weights, const at::Tensor& residual,
                       const at::Tensor& rows, at::Tensor& d_residual, F loss) {
  const at::Tensor x = residual.index_select(0, rows);
  const NormResult norm = AddRmsNorm(x, {}, weights.final_norm, weights.config.rms_norm_eps);
  at::Tensor d_y;
  const double sum = loss(norm.y, d_y);
  at::Tensor dx = at::zeros_like(x);
  if (d_y.defined()) AddRmsNormGradient(d_y, x, weights.final_norm, norm.inv_rms, dx);
  d_residual.index_copy_(0, rows, dx);
  return sum;
}

// Runs the head chunk by chunk. `loss_in_place(logits, begin, count)` returns the losses of a chunk
// and leaves the gradient in `logits`, or no tensor there where it is zero.
template <typename F>
double ChunkedHead(const ModelWeights& weights, const at::Tensor& residual, const at::Tensor& rows,
                   at::Tensor& d_residual, F loss_in_place) {
  double sum = 0.0;
  for (int64_t begin = 0; begin < rows.size(0); begin += kHeadChunkRows) {
    const int64_t count = std::min(kHeadChunkRows, rows.size(0) - begin);
    sum += BehindFinalNorm(weights, residual, rows.narrow(0, begin, count), d_residual,
                           [&](const at::Tensor& y, at::Tensor& d_y) {
                             at::Tensor logits = TimesTransposed(y, weights.head);
                             const at::Tensor losses = loss_in_place(logits, begin, count);
                             if (logits.defined()) d_y = Times(logits, weights.head);
                             return losses.sum(at::kDouble).template item<double>();
                           });
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
                       const at::Tensor& rows, const at::Tensor& teacher_residual, double slack,
                       double weight, at::Tensor& d_residual) {
  return ChunkedHead(
      weights, residual, rows, d_residual, [&](at::Tensor& logits, int64_t begin, int64_t count) {
        const at::Tensor teacher = HeadLogits(weights, teacher_residual.narrow(0, begin, count));
        const at::Tensor kl = KlDivergenceInPlace(logits, teacher, weight);
        if (slack == 0.0) return kl;
        const at::Tensor free = kl.le(slack);
        if (free.all().item<bool>()) {
          logits = at::Tensor();
        } else {
          logits.masked_fill_(free.unsqueeze(1), 0.0);
        }
        return kl.sub(slack).clamp_min(0.0);
      });
}

double StateToTeacherLoss(const ModelWeights& weights, const at::Tensor& residual,
                          const at::Tensor& rows, const at::Tensor& teacher_residual, double weight,
                          at::Tensor& d_residual) {
  const at::Tensor teacher =
      AddRmsNorm(teacher_residual, {}, weights.final_norm, weights.config.rms_norm_eps).y;
  return BehindFinalNorm(weights, residual, rows, d_residual,
                         [&](const at::Tensor& y, at::Tensor& d_y) {
                           const at::Tensor distance = y.to(at::kFloat) - teacher.to(at::kFloat);
                           const double share = 1.0 / static_cast<double>(y.size(1));
                           d_y = (distance * (2.0 * share * weight)).to(y.scalar_type());
                           return share * distance.square().sum(at::kDouble).item<double>();
                         });
}

}  // namespace wardtune
