#include "worker/training/micro_batch_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace wardtune {
namespace {

using ::testing::ElementsAre;

using Rows = std::vector<size_t>;

// Rows that share nothing, or begin with `shared` tokens alike.
StepRows Own(std::vector<int64_t> lengths, std::vector<bool> held = {}, int64_t shared = 0) {
  const size_t count = lengths.size();
  held.resize(count);
  return {std::move(lengths), std::move(held), std::vector<size_t>(count, 0),
          std::vector<int64_t>(count, shared)};
}
StepRows Alike(size_t count, int64_t length, int64_t shared) {
  return Own(std::vector<int64_t>(count, length), {}, shared);
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
  EXPECT_EQ(PlanStep(Alike(10, 100, 0), 400, 2)[0][0], (LaneWork{Rows{0, 2}, Rows{4, 6}, Rows{8}}));
  // 20 + 2 * 80 are a lane's 200, and another row is not.
  EXPECT_EQ(PlanStep(Alike(10, 100, 20), 400, 2)[0][0],
            (LaneWork{Rows{0, 2}, Rows{4, 6}, Rows{8}}));
  // 50 + 7 * 50 are all threads' 400.
  EXPECT_THAT(
      PlanStep(Alike(12, 100, 50), 400, 2),
      ElementsAre(LaneRound{{Rows{0, 1, 2, 3, 4, 5, 6}}}, LaneRound{{Rows{7, 8, 9, 10, 11}}}));
}

// A guard row beside eight rows of the customer's, 24 tokens of which are alike: two lanes that
// have these each, and one the guard row as well, took a quarter longer than eight rows alone.
TEST(StepPlan, ThreadsTakeRowsTogetherWhereLanesWouldRepeatAndWait) {
  StepRows rows = Alike(8, 61, 24);
  EXPECT_EQ(PlanStep(rows, 1024, 2).front().size(), 2);
  rows.lengths.push_back(57);
  rows.held.push_back(true);
  rows.group.push_back(1);
  rows.shared.push_back(0);
  EXPECT_THAT(PlanStep(rows, 1024, 2), ElementsAre(LaneRound{{Rows{0, 1, 2, 3, 4, 5, 6, 7, 8}}}));
}

TEST(StepPlan, ALongPrefixRunsOnceOnAllThreads) {
  EXPECT_THAT(PlanStep(Alike(6, 600, 400), 1000, 2),
              ElementsAre(LaneRound{{Rows{0, 1, 2}}}, LaneRound{{Rows{3, 4, 5}}}));
  EXPECT_THAT(PlanStep(Alike(8, 720, 680), 1024, 2),
              ElementsAre(LaneRound{{Rows{0, 1, 2, 3, 4}}}, LaneRound{{Rows{5, 6, 7}}}));
}

TEST(StepPlan, WholeRowsAreAtMostFourTimesTheBudget) {
  for (const LaneRound& round : PlanStep(Alike(100, 400, 398), 1024, 2)) {
    size_t count = 0;
    for (const LaneWork& work : round) count += work[0].size();
    EXPECT_LE(count * 400, 4 * 1024);
  }
}

TEST(StepPlan, PrefixesThatFillTheBudgetLeaveThePlanAsItIs) {
  StepRows rows = Alike(4, 600, 600);
  rows.shared = {500, 500, 550, 550};
  rows.group = {0, 0, 1, 1};
  EXPECT_EQ(PlanStep(rows, 1024, 2), PlanStep(Alike(4, 600, 0), 1024, 2));
}

}  // namespace
}  // namespace wardtune
