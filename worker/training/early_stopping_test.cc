#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/status_matchers.h"
#include "worker/model/testing/tiny_model.h"
#include "worker/training/row_loss.h"
#include "worker/training/testing/token_rows.h"
#include "worker/training/trainer.h"

namespace wardtune {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;
using ::wardtune::testing::StatusIs;

std::vector<TrainingRow> Rows(int count, int32_t salt) {
  return testing::TokenRows(count, salt, 6, 4);
}

class EarlyStoppingTest : public ::testing::Test {
 protected:
  EarlyStoppingTest() {
    options_.lora = {.rank = 4, .alpha = 8.0};
    options_.schedule = {.peak = 3e-2};
    options_.epochs = 30;
    // Unlike the rows that are trained on, so that learning those makes these worse in the end.
    options_.validation = {.rows = Rows(5, 40), .every_steps = 2, .patience = 3};
  }

  std::unique_ptr<Trainer> Create() {
    std::vector<TrainingStream> streams;
    streams.push_back(
        {.name = "customer", .rows = Rows(8, 1), .model = model_, .rows_per_step = 4});
    auto trainer = Trainer::Create(options_, std::move(streams), &clock_);
    EXPECT_TRUE(trainer.ok()) << trainer.status();
    return *std::move(trainer);
  }

  FakeClock clock_;
  const DecoderModel model_ =
      testing::LoadTinyModel("early", testing::TinyConfig("LlamaForCausalLM"));
  TrainerOptions options_;
};

// A cancel during a long measurement waited for its end.
TEST_F(EarlyStoppingTest, AMeasurementEndsWhenItIsNotToGoOn) {
  bool go_on = true;
  options_.validation.go_on = [&] { return go_on; };
  const auto trainer = Create();
  WT_ASSERT_OK(trainer->Step());
  WT_ASSERT_OK(trainer->Step());
  WT_ASSERT_OK(trainer->Step());
  go_on = false;
  EXPECT_THAT(trainer->Step(), StatusIs(StatusCode::kCancelled));
}

TEST_F(EarlyStoppingTest, DeliversTheBestAndStopsWhenNothingImproves) {
  const auto trainer = Create();
  std::vector<double> measured;
  std::vector<std::string> digests;
  while (!trainer->done()) {
    WT_ASSERT_OK_AND_ASSIGN(const StepReport report, trainer->Step());
    EXPECT_EQ(report.validation_loss.has_value(), report.step % 2 == 0);
    if (report.validation_loss) measured.push_back(*report.validation_loss);
  }
  const auto best = std::min_element(measured.begin(), measured.end());
  EXPECT_EQ(measured.end() - best, 4) << "the best and three that were no better";
  EXPECT_LT(trainer->step(), 60);
  EXPECT_EQ(trainer->total_steps(), trainer->step());
  EXPECT_EQ(trainer->adapter_step(), 2 * (best - measured.begin() + 1));
  EXPECT_EQ(trainer->validation_loss(), *best);
  // The delivered adapter is the one that was measured.
  const LoraAdapter adapter = trainer->Adapter();
  const LoraAdapter* const active[] = {&adapter};
  WT_ASSERT_OK_AND_ASSIGN(const auto losses, RowLosses(model_, active, options_.validation.rows));
  double sum = 0.0;
  double tokens = 0.0;
  for (size_t i = 0; i < losses.size(); ++i) {
    const auto count = static_cast<double>(options_.validation.rows[i].ids.size() - 2);
    sum += losses[i] * count;
    tokens += count;
  }
  EXPECT_NEAR(sum / tokens, *best, 1e-6);
}

TEST_F(EarlyStoppingTest, WithoutPatienceItRunsToTheEndAndMeasuresTheLastStep) {
  options_.validation.patience = 0;
  options_.validation.every_steps = 7;
  const auto trainer = Create();
  int64_t measurements = 0;
  while (!trainer->done()) {
    WT_ASSERT_OK_AND_ASSIGN(const StepReport report, trainer->Step());
    if (report.validation_loss) ++measurements;
  }
  EXPECT_EQ(trainer->step(), 60);
  EXPECT_EQ(measurements, 9);  // 7, 14, .., 56, and 60
}

TEST_F(EarlyStoppingTest, KeepsTheBestInOrderOfTheirLoss) {
  options_.validation.keep = 3;
  const auto trainer = Create();
  std::vector<std::pair<double, int64_t>> measured;
  EXPECT_EQ(trainer->Candidates().size(), 1);  // the start, not measured
  while (!trainer->done()) {
    WT_ASSERT_OK_AND_ASSIGN(const StepReport report, trainer->Step());
    if (report.validation_loss) measured.emplace_back(*report.validation_loss, report.step);
  }
  std::sort(measured.begin(), measured.end());
  const std::vector<AdapterAtStep> kept = trainer->Candidates();
  ASSERT_EQ(kept.size(), 3);
  std::set<std::string> different;
  for (size_t i = 0; i < kept.size(); ++i) {
    EXPECT_EQ(kept[i].validation_loss, measured[i].first);
    EXPECT_EQ(kept[i].step, measured[i].second);
    different.insert(AdapterDigest(kept[i].adapter));
  }
  EXPECT_EQ(different.size(), 3);
  EXPECT_EQ(AdapterDigest(trainer->Adapter()), AdapterDigest(kept[0].adapter));
}

TEST_F(EarlyStoppingTest, AResumedRunEndsWithTheSameBytes) {
  options_.validation.keep = 2;
  const auto whole = Create();
  while (!whole->done()) ASSERT_TRUE(whole->Step().ok());
  for (const int64_t at : {1, 3, 6, 8}) {  // before, at and after the best
    const auto first = Create();
    while (first->step() < at) ASSERT_TRUE(first->Step().ok());
    WT_ASSERT_OK_AND_ASSIGN(const std::string state, first->SaveState());
    const auto second = Create();
    ASSERT_TRUE(second->RestoreState(state).ok());
    EXPECT_EQ(second->step(), at);
    while (!second->done()) ASSERT_TRUE(second->Step().ok());
    EXPECT_EQ(second->step(), whole->step());
    EXPECT_EQ(second->adapter_step(), whole->adapter_step());
    EXPECT_EQ(AdapterDigest(second->Adapter()), AdapterDigest(whole->Adapter())) << "at " << at;
    ASSERT_EQ(second->Candidates().size(), 2);
    EXPECT_EQ(AdapterDigest(second->Candidates()[1].adapter),
              AdapterDigest(whole->Candidates()[1].adapter));
  }
}

TEST_F(EarlyStoppingTest, OtherRowsOrDamageAreRefusedAndChangeNothing) {
  const auto trainer = Create();
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(trainer->Step().ok());
  WT_ASSERT_OK_AND_ASSIGN(std::string state, trainer->SaveState());
  const std::string digest = AdapterDigest(trainer->Adapter());
  options_.validation.rows[0].ids[0] += 1;
  const auto other = Create();
  EXPECT_THAT(other->RestoreState(state),
              StatusIs(StatusCode::kFailedPrecondition, HasSubstr("other rows")));
  EXPECT_EQ(other->step(), 0);
  EXPECT_THAT(trainer->RestoreState(state.substr(0, 100)),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("damaged")));
  EXPECT_EQ(AdapterDigest(trainer->Adapter()), digest);
}

TEST_F(EarlyStoppingTest, BadOptionsAreNamed) {
  const auto refused = [&](const char* what) {
    std::vector<TrainingStream> streams;
    streams.push_back({.name = "customer", .rows = Rows(8, 1), .model = model_});
    EXPECT_THAT(Trainer::Create(options_, std::move(streams), &clock_),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(what)));
  };
  options_.validation.every_steps = 0;
  refused("every_steps");
  options_.validation.every_steps = 1;
  options_.validation.patience = -1;
  refused("patience");
  options_.validation.patience = 0;
  options_.validation.keep = 0;
  refused("keep");
  options_.validation.keep = 1;
  options_.validation.patience = 0;
  options_.validation.rows[2].loss_mask.assign(options_.validation.rows[2].ids.size(), 0);
  refused("validation row 2");
}

}  // namespace
}  // namespace wardtune
