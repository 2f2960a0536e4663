#include "base/wilson_interval.h"

#include <gtest/gtest.h>

namespace wardtune {
namespace {

// Table I of Newcombe, "Two-sided confidence intervals for the single proportion" (1998), method 3.
TEST(WilsonIntervalTest, EqualsPublishedValues) {
  struct Case {
    int64_t successes, trials;
    double low, high;
  };
  for (const Case& c : {Case{81, 263, 0.2553, 0.3662}, Case{15, 148, 0.0624, 0.1605},
                        Case{0, 20, 0.0, 0.1611}, Case{1, 29, 0.0061, 0.1718}}) {
    const Interval interval = WilsonInterval(c.successes, c.trials);
    EXPECT_NEAR(interval.low, c.low, 5e-5) << c.successes << "/" << c.trials;
    EXPECT_NEAR(interval.high, c.high, 5e-5) << c.successes << "/" << c.trials;
  }
}

TEST(WilsonIntervalTest, KnowsNothingWithoutTrials) {
  EXPECT_EQ(WilsonInterval(0, 0).low, 0.0);
  EXPECT_EQ(WilsonInterval(0, 0).high, 1.0);
}

TEST(WilsonIntervalTest, HoldsTheRateAndStaysInRange) {
  for (int64_t n = 1; n <= 50; ++n) {
    for (int64_t k = 0; k <= n; ++k) {
      const Interval interval = WilsonInterval(k, n);
      const double rate = static_cast<double>(k) / static_cast<double>(n);
      EXPECT_GE(interval.low, 0.0);
      EXPECT_LE(interval.low, rate);
      EXPECT_GE(interval.high, rate);
      EXPECT_LE(interval.high, 1.0);
    }
  }
}

}  // namespace
}  // namespace wardtune
