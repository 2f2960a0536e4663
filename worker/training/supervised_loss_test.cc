// The losses and their gradients against LibTorch's autograd on the plain formulas, fp32.
#include "worker/training/supervised_loss.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <functional>

#include "worker/model/torch_ops.h"

namespace wardtune {
namespace {

constexpr int64_t kTokens = 7;
constexpr int64_t kHidden = 16;
constexpr int64_t kVocabulary = 32;
constexpr double kWeight = 0.3;

// Values between -1 and 1 that repeat nowhere.
at::Tensor Wave(int64_t rows, int64_t columns, double frequency) {
  return (at::arange(rows * columns, at::kFloat) * frequency).sin().view({rows, columns});
}

class SupervisedLossTest : public ::testing::Test {
 protected:
  SupervisedLossTest() {
    weights_.config.rms_norm_eps = 1e-5;
    weights_.final_norm = Wave(1, kHidden, 0.7).view({kHidden}) + 1.5;
    weights_.head = Wave(kVocabulary, kHidden, 1.3);
  }

  at::Tensor Norm(const at::Tensor& x) const {
    return x * (x.square().mean(-1, true) + 1e-5).rsqrt() * weights_.final_norm;
  }
  at::Tensor LogP(const at::Tensor& x) const {
    return at::log_softmax(at::matmul(Norm(x), weights_.head.t()), -1);
  }

  // `loss` sums over rows_, as `ours` does, which also leaves kWeight times its gradient.
  void Check(const std::function<at::Tensor(const at::Tensor&)>& loss,
             const std::function<double(at::Tensor&)>& ours) const {
    at::Tensor x = residual_.clone().requires_grad_(true);
    const at::Tensor expected = loss(x.index_select(0, rows_));
    expected.backward();
    at::Tensor gradient = at::zeros_like(residual_);
    EXPECT_NEAR(ours(gradient), expected.item<double>(), 1e-5 * expected.item<double>());
    const at::Tensor difference = gradient - x.grad() * kWeight;
    EXPECT_LT(difference.abs().max().item<double>(), 1e-5);
    EXPECT_GT(gradient.abs().max().item<double>(), 1e-3);
  }

  ModelWeights weights_;
  const at::Tensor residual_ = Wave(kTokens, kHidden, 2.1);
  const at::Tensor teacher_ = Wave(3, kHidden, 2.9);
  const at::Tensor rows_ = at::tensor({1, 2, 5}, at::kLong);
  const at::Tensor targets_ = at::tensor({3, 31, 0}, at::kLong);
};

TEST_F(SupervisedLossTest, CrossEntropy) {
  Check([&](const at::Tensor& x) { return LogP(x).gather(1, targets_.unsqueeze(1)).neg().sum(); },
        [&](at::Tensor& gradient) {
          return CrossEntropyLoss(weights_, residual_, rows_, targets_, kWeight, gradient);
        });
}

TEST_F(SupervisedLossTest, KlToTeacherCountsWhatIsAboveTheSlack) {
  const at::Tensor teacher = LogP(teacher_);
  const at::Tensor of_rows =
      (teacher.exp() * (teacher - LogP(residual_.index_select(0, rows_)))).sum(1);
  // Between the least and the largest of the three rows, so that some count and some do not.
  const double between = of_rows.mean().item<double>();
  ASSERT_LT(of_rows.min().item<double>(), between);
  for (const double slack : {0.0, between}) {
    Check(
        [&](const at::Tensor& x) {
          const at::Tensor kl = (teacher.exp() * (teacher - LogP(x))).sum(1);
          return kl.sub(slack).clamp_min(0.0).sum();
        },
        [&](at::Tensor& gradient) {
          return KlToTeacherLoss(weights_, residual_, rows_, teacher_, slack, kWeight, gradient);
        });
  }
}

TEST_F(SupervisedLossTest, KlWithinTheSlackPullsNowhere) {
  at::Tensor gradient = at::ones_like(residual_);
  EXPECT_EQ(KlToTeacherLoss(weights_, residual_, rows_, teacher_, 50.0, kWeight, gradient), 0.0);
  EXPECT_EQ(gradient.index_select(0, rows_).abs().max().item<double>(), 0.0);
}

TEST_F(SupervisedLossTest, StateToTeacher) {
  Check([&](const at::Tensor& x) { return (Norm(x) - Norm(teacher_)).square().mean(1).sum(); },
        [&](at::Tensor& gradient) {
          return StateToTeacherLoss(weights_, residual_, rows_, teacher_, kWeight, gradient);
        });
}

}  // namespace
}  // namespace wardtune
