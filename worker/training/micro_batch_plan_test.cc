#include "worker/training/micro_batch_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace wardtune {
namespace {

using ::testing::ElementsAre;

using Rows = std::vector<size_t>;

TEST(MicroBatchPlan, OneLaneTakesTheRowsInOrderWithinTheBudget) {
  EXPECT_THAT(
      PlanMicroBatches({300, 300, 300, 500}, 700, 1),
      ElementsAre(MicroBatchWave{Rows{0, 1}}, MicroBatchWave{Rows{2}}, MicroBatchWave{Rows{3}}));
}

TEST(MicroBatchPlan, LanesGetEqualShares) {
  EXPECT_THAT(PlanMicroBatches({256, 256, 256, 256}, 2048, 2),
              ElementsAre(MicroBatchWave{Rows{0, 2}, Rows{1, 3}}));
  EXPECT_THAT(PlanMicroBatches({100, 400, 150, 150}, 2048, 2),
              ElementsAre(MicroBatchWave{Rows{1}, Rows{0, 2, 3}}));
}

TEST(MicroBatchPlan, ARowThatNoOtherBalancesRunsOnAllThreads) {
  EXPECT_THAT(PlanMicroBatches({1000, 100, 100}, 2048, 2),
              ElementsAre(MicroBatchWave{Rows{0, 1, 2}}));
  EXPECT_THAT(PlanMicroBatches({4096}, 2048, 2), ElementsAre(MicroBatchWave{Rows{0}}));
}

TEST(MicroBatchPlan, TooFewTokensAreNotSpread) {
  EXPECT_THAT(PlanMicroBatches({20, 20, 20, 20}, 2048, 2),
              ElementsAre(MicroBatchWave{Rows{0, 1, 2, 3}}));
}

TEST(MicroBatchPlan, TheBudgetIsOfAllLanesTogether) {
  EXPECT_THAT(PlanMicroBatches({256, 256, 256, 256}, 512, 2),
              ElementsAre(MicroBatchWave{Rows{0}, Rows{1}}, MicroBatchWave{Rows{2}, Rows{3}}));
}

}  // namespace
}  // namespace wardtune
