#include "worker/training/micro_batch_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace wardtune {
namespace {

using ::testing::ElementsAre;

using Rows = std::vector<size_t>;

// Rows that share nothing.
StepRows Own(std::vector<int64_t> lengths, std::vector<bool> held = {}) {
  held.resize(lengths.size());
  std::vector<int64_t> shared(lengths.size(), 0);
  return {std::move(lengths), std::move(held), std::move(shared), 0};
}

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

TEST(StepPlan, SharesRowsOutOnceAndCutsEachLaneForItself) {
  // Wave by wave lanes would wait: 300 against 100, then 100 against 300.
  EXPECT_THAT(PlanStep(Own({300, 100, 100, 300}), 600, 2),
              ElementsAre(LaneRound{{Rows{0}, Rows{1}}, {Rows{2}, Rows{3}}}));
  EXPECT_THAT(PlanStep(Own({100, 100, 100, 100, 100, 100}), 400, 2),
              ElementsAre(LaneRound{{Rows{0, 2}, Rows{4}}, {Rows{1, 3}, Rows{5}}}));
}

// A guard row beside eight customer's rows made one of two lanes wait for the other: the step took
// 27% longer for 12% more tokens.
TEST(StepPlan, ARowThatALaneWouldWaitForIsSharedByAllThreads) {
  EXPECT_THAT(PlanStep(Own({60, 60, 60, 60, 57}), 4096, 2),
              ElementsAre(LaneRound{{Rows{0, 2}}, {Rows{1, 3}}}, LaneRound{{Rows{4}}}));
  EXPECT_THAT(PlanStep(Own({100, 100, 100, 100, 100, 100, 100, 100, 100}), 4096, 4),
              ElementsAre(LaneRound{{Rows{0, 4}}, {Rows{1, 5}}, {Rows{2, 6}}, {Rows{3, 7}}},
                          LaneRound{{Rows{8}}}));
}

TEST(StepPlan, ARowTooShortForARoundOfItsOwnStaysInItsLane) {
  EXPECT_THAT(PlanStep(Own({60, 60, 60, 60, 20}), 4096, 2),
              ElementsAre(LaneRound{{Rows{0, 2, 4}}, {Rows{1, 3}}}));
}

TEST(StepPlan, AHeldRowIsSharedBeforeAShorterOne) {
  EXPECT_THAT(PlanStep(Own({60, 50, 60, 60, 57}), 4096, 2),
              ElementsAre(LaneRound{{Rows{0, 3}}, {Rows{2, 4}}}, LaneRound{{Rows{1}}}));
  EXPECT_THAT(PlanStep(Own({60, 50, 60, 60, 57}, {false, false, false, false, true}), 4096, 2),
              ElementsAre(LaneRound{{Rows{0, 3}}, {Rows{1, 2}}}, LaneRound{{Rows{4}}}));
}

TEST(StepPlan, ARowThatEvensTheLanesOutStaysWithThem) {
  EXPECT_THAT(PlanStep(Own({80, 40, 60, 60, 60}), 4096, 2),
              ElementsAre(LaneRound{{Rows{0, 4}}, {Rows{1, 2, 3}}}));
}

TEST(StepPlan, WhatFitsTheBudgetIsNotCut) {
  EXPECT_THAT(PlanStep(Own({150, 100, 100}), 400, 2),
              ElementsAre(LaneRound{{Rows{0}}, {Rows{1, 2}}}));
}

TEST(StepPlan, NoLaneGetsMoreAtOnceThanIsEnough) {
  EXPECT_THAT(PlanStep(Own({256, 256, 256, 256}), 4096, 2),
              ElementsAre(LaneRound{{Rows{0}, Rows{2}}, {Rows{1}, Rows{3}}}));
  EXPECT_THAT(PlanStep(Own({250, 250, 250, 250, 250, 250}), 4096, 2),
              ElementsAre(LaneRound{{Rows{0, 2}, Rows{4}}, {Rows{1, 3}, Rows{5}}}));
  EXPECT_EQ(TokensAtOnce(4096, {256, 256}, 2), 2 * 256);
  EXPECT_EQ(TokensAtOnce(4096, {20, 256}, 2), 2 * kEnoughLaneTokens);
  EXPECT_EQ(TokensAtOnce(4096, {20, 1000}, 2), 2 * 1000);
  EXPECT_EQ(TokensAtOnce(500, {20, 256}, 2), 500);
  EXPECT_EQ(TokensAtOnce(500, {20, 1000}, 2), 1000);
  EXPECT_EQ(TokensAtOnce(4096, {20, 256}, 1), 4096);
}

TEST(StepPlan, ARowAboveTheBudgetRaisesItForNoOther) {
  EXPECT_THAT(PlanStep(Own({400, 400, 1000}), 500, 1),
              ElementsAre(LaneRound{{Rows{0}}}, LaneRound{{Rows{1}}}, LaneRound{{Rows{2}}}));
}

TEST(StepPlan, LongRowsGoWaveByWave) {
  EXPECT_THAT(PlanStep(Own({500, 500, 100, 100}), 700, 2),
              ElementsAre(LaneRound{{Rows{0}}}, LaneRound{{Rows{1, 2, 3}}}));
  EXPECT_THAT(PlanStep(Own({300, 300}), 400, 1),
              ElementsAre(LaneRound{{Rows{0}}}, LaneRound{{Rows{1}}}));
}

TEST(StepPlan, SharedTokensCountOnceAMicroBatch) {
  StepRows rows = Own(std::vector<int64_t>(10, 100));
  EXPECT_EQ(PlanStep(rows, 400, 2)[0][0], (LaneWork{Rows{0, 2}, Rows{4, 6}, Rows{8}}));
  rows.shared.assign(10, 50);
  rows.prefix_tokens = 50;  // 50 + 3 * 50 are a lane's 200
  EXPECT_EQ(PlanStep(rows, 400, 2)[0][0], (LaneWork{Rows{0, 2, 4}, Rows{6, 8}}));
}

TEST(StepPlan, ALongPrefixRunsOnceOnAllThreads) {
  StepRows rows = Own(std::vector<int64_t>(6, 600));
  rows.shared.assign(6, 400);
  rows.prefix_tokens = 400;
  EXPECT_THAT(PlanStep(rows, 1000, 2),
              ElementsAre(LaneRound{{Rows{0, 1, 2}}}, LaneRound{{Rows{3, 4, 5}}}));
}

TEST(StepPlan, WholeRowsAreAtMostFourTimesTheTokens) {
  StepRows rows = Own(std::vector<int64_t>(20, 400));
  rows.shared.assign(20, 390);
  rows.prefix_tokens = 390;
  EXPECT_EQ(PlanStep(rows, 4096, 2)[0][0][0].size(), 4);  // 390 + 4 * 100 of 2 * 400, not * 10
}

}  // namespace
}  // namespace wardtune
