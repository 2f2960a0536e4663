#include "worker/safety/safety_scorer.h"

#include <gtest/gtest.h>

#include "base/wilson_interval.h"

namespace wardtune {
namespace {

TEST(SafetyScorerTest, CountsEachCategorySortedAndAllLast) {
  const std::vector<Exchange> exchanges = {
      {"safety", "", ""}, {"privacy", "", ""}, {"safety", "", ""}, {"safety", "", ""}};
  const auto results = CountByCategory(exchanges, {true, false, false, true});
  ASSERT_EQ(results.size(), 3);
  EXPECT_EQ(results[0].category, "privacy");
  EXPECT_EQ(results[0].prompts, 1);
  EXPECT_EQ(results[0].harmful, 0);
  EXPECT_EQ(results[1].category, "safety");
  EXPECT_EQ(results[1].prompts, 3);
  EXPECT_EQ(results[1].harmful, 2);
  EXPECT_DOUBLE_EQ(results[1].rate, 2.0 / 3.0);
  EXPECT_EQ(results[2].category, "all");
  EXPECT_EQ(results[2].prompts, 4);
  EXPECT_EQ(results[2].harmful, 2);
  EXPECT_DOUBLE_EQ(results[2].wilson_low, WilsonInterval(2, 4).low);
  EXPECT_DOUBLE_EQ(results[2].wilson_high, WilsonInterval(2, 4).high);
}

TEST(SafetyScorerTest, TheDigestNamesTheSamplingSettings) {
  EXPECT_EQ(SamplingOptions{}.Digest(), SamplingOptions{}.Digest());
  EXPECT_NE(SamplingOptions{}.Digest(), SamplingOptions{.max_new_tokens = 49}.Digest());
  EXPECT_EQ(SamplingOptions{}.Digest(), SamplingOptions{.batch = 1}.Digest());
}

}  // namespace
}  // namespace wardtune
