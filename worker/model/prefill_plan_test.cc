#include "worker/model/prefill_plan.h"

#include <gtest/gtest.h>

#include <map>

namespace wardtune {
namespace {

using Prompts = std::vector<std::vector<int32_t>>;

PrefillPlan Plan(const Prompts& prompts) {
  return PlanPrefill(std::vector<std::span<const int32_t>>(prompts.begin(), prompts.end()));
}

// Every place of every prompt is filled by a row with its token, whose own slot holds the same
// beginning.
void ExpectCovers(const PrefillPlan& plan, const Prompts& prompts) {
  std::map<std::pair<int64_t, int64_t>, int64_t> row_at;
  for (const CachePlace& place : plan.rows.places) {
    EXPECT_TRUE(row_at.emplace(std::pair(place.slot, place.position), place.row).second);
  }
  for (size_t i = 0; i < prompts.size(); ++i) {
    const std::vector<int32_t>& prompt = prompts[i];
    for (size_t p = 0; p < prompt.size(); ++p) {
      const int64_t row = row_at.at({static_cast<int64_t>(i), static_cast<int64_t>(p)});
      EXPECT_EQ(plan.ids[row], prompt[p]);
      EXPECT_EQ(plan.positions[row], static_cast<int64_t>(p));
      EXPECT_EQ(plan.rows.lengths[row], static_cast<int64_t>(p) + 1);
      const std::vector<int32_t>& seen = prompts[plan.rows.slots[row]];
      EXPECT_TRUE(std::equal(prompt.begin(), prompt.begin() + p + 1, seen.begin()));
    }
    const SharedBeginning& shared = plan.beginnings[i];
    const std::vector<int32_t>& other = prompts[shared.slot];
    ASSERT_LE(shared.tokens, static_cast<int64_t>(std::min(prompt.size(), other.size())));
    EXPECT_TRUE(std::equal(prompt.begin(), prompt.begin() + shared.tokens, other.begin()));
    EXPECT_EQ(plan.last[i], row_at.at({static_cast<int64_t>(i), prompt.size() - 1}));
  }
}

TEST(PrefillPlanTest, WhatPromptsBeginWithIsOneRow) {
  const Prompts prompts = {{1, 2, 3, 4}, {1, 2, 5}, {1, 2, 3, 6, 7}, {8}};
  const PrefillPlan plan = Plan(prompts);
  EXPECT_EQ(plan.ids.size(), 8u);  // 1 2 3 4, 5, 6 7, 8
  EXPECT_EQ(plan.rows.places.size(), 13u);
  EXPECT_EQ(plan.beginnings[2].tokens, 3);  // sorted: 1 2 3 4, 1 2 3 6 7, 1 2 5, 8
  EXPECT_EQ(plan.beginnings[1].tokens, 2);
  EXPECT_EQ(plan.beginnings[3].tokens, 0);
  ExpectCovers(plan, prompts);
}

TEST(PrefillPlanTest, APromptMayBeAnothersBeginningOrTheSame) {
  const Prompts prompts = {{1, 2, 3}, {1, 2}, {1, 2, 3}, {1}};
  const PrefillPlan plan = Plan(prompts);
  EXPECT_EQ(plan.ids.size(), 3u);
  EXPECT_EQ(plan.last, (std::vector<int64_t>{2, 1, 2, 0}));
  ExpectCovers(plan, prompts);
}

TEST(PrefillPlanTest, TokensAfterADifferenceAreNeverShared) {
  const Prompts prompts = {{1, 9, 9}, {2, 9, 9}};
  const PrefillPlan plan = Plan(prompts);
  EXPECT_EQ(plan.ids.size(), 6u);
  ExpectCovers(plan, prompts);
}

TEST(PrefillPlanTest, PaysOffByWhatIsSharedAgainstWhatIsReadAlone) {
  const auto with_prefix = [](size_t shared, size_t own) {
    Prompts prompts(4, std::vector<int32_t>(shared, 1));
    for (size_t i = 0; i < prompts.size(); ++i) {
      prompts[i].insert(prompts[i].end(), own, static_cast<int32_t>(i + 2));
    }
    return Plan(prompts);
  };
  EXPECT_FALSE(PaysOff(Plan({{1, 2, 3}})));
  EXPECT_FALSE(PaysOff(with_prefix(0, 20)));
  EXPECT_TRUE(PaysOff(with_prefix(24, 20)));
  EXPECT_TRUE(PaysOff(with_prefix(500, 20)));
  EXPECT_FALSE(PaysOff(with_prefix(24, 1000)));
}

}  // namespace
}  // namespace wardtune
