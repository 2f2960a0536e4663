// The baselines of the evidence bench do what their authors say, on a tiny model in fp32.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/status_matchers.h"
#include "bench/unlearnable/lisa.h"
#include "bench/unlearnable/norm_matched_adapter.h"
#include "bench/unlearnable/vaccine.h"
#include "worker/model/testing/tiny_model.h"
#include "worker/training/testing/token_rows.h"

namespace wardtune {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;
using ::wardtune::testing::StatusIs;

class BaselinesTest : public ::testing::Test {
 protected:
  BaselinesTest()
      : base_(testing::LoadTinyModel("baselines", testing::TinyConfig("LlamaForCausalLM"))) {
    options_.schedule = {.peak = 2e-3, .decay = LrDecay::kConstant};
    options_.lora.rank = 3;
    options_.epochs = 4;
    options_.seed = 7;
  }

  TrainingStream Rows(int32_t salt) const {
    return {
        .name = "rows", .rows = testing::TokenRows(11, salt), .model = base_, .rows_per_step = 4};
  }

  LoraAdapter Trained(const TrainingStream& rows) {
    auto trainer = Trainer::Create(options_, {rows}, &clock_);
    EXPECT_TRUE(trainer.ok()) << trainer.status();
    while (!(*trainer)->done()) EXPECT_TRUE((*trainer)->Step().ok());
    return (*trainer)->Adapter();
  }

  // The largest difference of any of the adapters' numbers.
  static double Distance(const LoraAdapter& x, const LoraAdapter& y) {
    double largest = 0.0;
    for (size_t l = 0; l < x.layers.size(); ++l) {
      for (size_t p = 0; p < x.layers[l].size(); ++p) {
        const LoraMatrices& left = x.layers[l][p];
        const LoraMatrices& right = y.layers[l][p];
        EXPECT_EQ(left.a.size(), right.a.size());
        EXPECT_EQ(left.b.size(), right.b.size());
        for (size_t i = 0; i < left.a.size(); ++i) {
          largest = std::max(largest, std::abs(double{left.a[i]} - right.a[i]));
        }
        for (size_t i = 0; i < left.b.size(); ++i) {
          largest = std::max(largest, std::abs(double{left.b[i]} - right.b[i]));
        }
      }
    }
    return largest;
  }

  // Mean loss of the rows under the base and the adapter.
  double LossOn(const TrainingStream& rows, const LoraAdapter& adapter) {
    TrainerOptions one = options_;
    one.start = adapter;
    one.max_steps = 1;
    TrainingStream all = rows;
    all.rows_per_step = static_cast<int64_t>(rows.rows.size());
    auto trainer = Trainer::Create(one, {all}, &clock_);
    EXPECT_TRUE(trainer.ok()) << trainer.status();
    return (*trainer)->Step()->loss;
  }

  SystemClock clock_;
  const DecoderModel base_;
  TrainerOptions options_;
};

TEST_F(BaselinesTest, VaccineWithoutAShiftIsOrdinaryTraining) {
  const TrainingStream rows = Rows(5);
  const auto vaccine = TrainVaccine(options_, rows, /*radius=*/0.0, &clock_);
  ASSERT_TRUE(vaccine.ok()) << vaccine.status();
  EXPECT_LT(Distance(*vaccine, Trained(rows)), 1e-4);
}

TEST_F(BaselinesTest, VaccineShiftsTheHiddenStates) {
  const TrainingStream rows = Rows(5);
  const auto shifted = TrainVaccine(options_, rows, /*radius=*/1.0, &clock_);
  ASSERT_TRUE(shifted.ok()) << shifted.status();
  EXPECT_GT(Distance(*shifted, Trained(rows)), 1e-3);
  const LoraAdapter untrained = *InitLora(base_.config(), options_.lora, options_.seed);
  EXPECT_LT(LossOn(rows, *shifted), LossOn(rows, untrained));
}

// The shift is uphill and its norm is the radius: the loss that a step trains on rises by the
// radius times the gradient's norm, the same for every small radius.
TEST_F(BaselinesTest, VaccineShiftsUphillByTheRadius) {
  TrainingStream rows = Rows(5);
  rows.rows_per_step = static_cast<int64_t>(rows.rows.size());
  const auto loss_at = [&](double radius) {
    double loss = 0.0;
    const auto trained = TrainVaccine(options_, rows, radius, &clock_, [&](const StepReport& step) {
      if (step.step == 1) loss = step.loss;
    });
    EXPECT_TRUE(trained.ok()) << trained.status();
    return loss;
  };
  const double plain = loss_at(0.0);
  const double slope = (loss_at(0.01) - plain) / 0.01;
  EXPECT_GT(slope, 0.0);
  EXPECT_NEAR((loss_at(0.04) - plain) / 0.04, slope, 0.05 * slope);
}

TEST_F(BaselinesTest, VaccineRefusesWhatItCannotDo) {
  const double infinity = std::numeric_limits<double>::infinity();
  for (const double radius : {-1.0, infinity, std::nan("")}) {
    EXPECT_THAT(TrainVaccine(options_, Rows(5), radius, &clock_).status(),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("radius")));
  }
  options_.recompute_activations = true;
  EXPECT_THAT(TrainVaccine(options_, Rows(5), 1.0, &clock_).status(),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("checkpointed")));
}

TEST_F(BaselinesTest, LisaLearnsBothSides) {
  const TrainingStream customer = Rows(5);
  const TrainingStream safety = Rows(31);
  const LisaOptions lisa = {.customer_steps = 4, .safety_steps = 4, .proximal_weight = 0.0};
  const auto both = TrainLisa(options_, customer, safety, lisa, &clock_);
  ASSERT_TRUE(both.ok()) << both.status();
  const LoraAdapter alone = Trained(customer);
  EXPECT_LT(LossOn(safety, *both), LossOn(safety, alone));
  const LoraAdapter untrained = *InitLora(base_.config(), options_.lora, options_.seed);
  EXPECT_LT(LossOn(customer, *both), LossOn(customer, untrained));
}

TEST_F(BaselinesTest, LisaHoldsEachTurnToItsStart) {
  LisaOptions lisa = {.customer_steps = 4, .safety_steps = 4, .proximal_weight = 0.0};
  const LoraAdapter start = *InitLora(base_.config(), options_.lora, options_.seed);
  const auto free = TrainLisa(options_, Rows(5), Rows(31), lisa, &clock_);
  lisa.proximal_weight = 1e4;
  const auto held = TrainLisa(options_, Rows(5), Rows(31), lisa, &clock_);
  ASSERT_TRUE(free.ok() && held.ok());
  EXPECT_LT(Distance(*held, start), 0.75 * Distance(*free, start));
}

TEST_F(BaselinesTest, LisaRefusesATurnWithoutSteps) {
  EXPECT_THAT(TrainLisa(options_, Rows(5), Rows(31), {.safety_steps = 0}, &clock_).status(),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("steps of a turn")));
}

// The control began with the numbers that the customer's own A begins with, layer by layer.
TEST_F(BaselinesTest, TheRandomControlIsNothingOfTheCustomersOwn) {
  const LoraAdapter vector = Trained(Rows(5));
  const LoraAdapter control = NormMatchedAdapter(vector, options_.seed);
  const auto customer = InitLora(base_.config(), options_.lora, options_.seed);
  ASSERT_TRUE(customer.ok()) << customer.status();
  const std::vector<float>& a = control.at(0, options_.lora.targets[0]).a;
  const std::vector<float>& own = customer->at(0, options_.lora.targets[0]).a;
  ASSERT_EQ(a.size(), own.size());
  const double across = std::inner_product(a.begin(), a.end(), own.begin(), 0.0);
  const double lengths = std::inner_product(a.begin(), a.end(), a.begin(), 0.0) *
                         std::inner_product(own.begin(), own.end(), own.begin(), 0.0);
  EXPECT_LT(std::abs(across / std::sqrt(lengths)), 0.3);
}

}  // namespace
}  // namespace wardtune
