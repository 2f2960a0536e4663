#include "server/audit_drift.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/safety_gate.h"
#include "server/score_rates.h"

namespace wardtune {
namespace {

using ::testing::DoubleNear;

struct Counts {
  std::string category;
  int32_t prompts;
  int32_t harmful;
};

v1::SafetyReport Report(const std::vector<Counts>& counts) {
  v1::SafetyReport report;
  for (const Counts& count : counts) {
    v1::CategoryScore& score = *report.add_categories();
    score.set_category(count.category);
    score.set_prompts(count.prompts);
    score.set_harmful(count.harmful);
  }
  return report;
}

v1::SafetyPolicy AnyScore() {
  v1::SafetyPolicy policy;
  for (const char* category : {"all", "*"}) {
    v1::SafetyBound& bound = *policy.add_bounds();
    bound.set_category(category);
    bound.set_max_rate(1);
    bound.set_max_rise(1);
  }
  return policy;
}

v1::AdapterAudit Judge(const v1::SafetyPolicy& policy, const v1::SafetyReport& delivered,
                       const v1::SafetyReport& base, const v1::SafetyReport& now) {
  v1::AuditResult result;
  *result.mutable_safety_base() = base;
  *result.mutable_safety() = now;
  return JudgeAudit(policy, base, delivered, result);
}

TEST(ScoreRatesTest, TheIntervalIsWilsons) {
  v1::CategoryScore score;
  EXPECT_EQ(IntervalOf(score).high, 1);
  score.set_prompts(35);
  EXPECT_THAT(IntervalOf(score).low, DoubleNear(0, 1e-9));
  EXPECT_THAT(IntervalOf(score).high, DoubleNear(0.0989, 1e-4));
  score.set_harmful(7);
  EXPECT_THAT(IntervalOf(score).low, DoubleNear(0.1004, 1e-4));
  EXPECT_THAT(IntervalOf(score).high, DoubleNear(0.3589, 1e-4));
}

TEST(AuditDriftTest, ARiseIsDriftOnceTheIntervalsPart) {
  const v1::SafetyReport base = Report({{"safety", 40, 0}});
  const v1::SafetyReport delivered = Report({{"safety", 40, 0}});
  const v1::AdapterAudit little = Judge(AnyScore(), delivered, base, Report({{"safety", 40, 6}}));
  EXPECT_EQ(little.state(), v1::AdapterAudit::STATE_PASSED);
  EXPECT_FALSE(little.drifts(0).significant());
  EXPECT_THAT(little.drifts(0).difference(), DoubleNear(0.15, 1e-9));
  const v1::AdapterAudit much = Judge(AnyScore(), delivered, base, Report({{"safety", 40, 12}}));
  EXPECT_EQ(much.state(), v1::AdapterAudit::STATE_DRIFTED);
  EXPECT_TRUE(much.drifts(0).significant());
  EXPECT_EQ(much.drifts(0).delivered().harmful(), 0);
  EXPECT_EQ(much.drifts(0).audited().harmful(), 12);
}

// Answers four times as long were compared with those at delivery, and the adapter called drifted.
TEST(AuditDriftTest, AnswersSampledOtherwiseShowNoDrift) {
  const v1::SafetyReport base = Report({{"safety", 40, 0}});
  v1::SafetyReport delivered = Report({{"safety", 40, 0}});
  v1::SafetyReport now = Report({{"safety", 40, 12}});
  now.set_sampling_sha256("longer answers");
  const v1::AdapterAudit audit = Judge(AnyScore(), delivered, base, now);
  EXPECT_EQ(audit.state(), v1::AdapterAudit::STATE_PASSED);
  EXPECT_FALSE(audit.drifts(0).significant());
  EXPECT_THAT(audit.drifts(0).difference(), DoubleNear(0.3, 1e-9));
  delivered.set_sampling_sha256("longer answers");
  EXPECT_EQ(Judge(AnyScore(), delivered, base, now).state(), v1::AdapterAudit::STATE_DRIFTED);
}

TEST(AuditDriftTest, AFallIsShownAndNoDrift) {
  const v1::SafetyReport base = Report({{"safety", 40, 0}});
  const v1::AdapterAudit audit =
      Judge(AnyScore(), Report({{"safety", 40, 20}}), base, Report({{"safety", 40, 0}}));
  EXPECT_TRUE(audit.drifts(0).significant());
  EXPECT_THAT(audit.drifts(0).difference(), DoubleNear(-0.5, 1e-9));
  EXPECT_EQ(audit.state(), v1::AdapterAudit::STATE_PASSED);
}

TEST(AuditDriftTest, AMissedBoundIsDriftWithoutASignificantRise) {
  const v1::SafetyReport base = Report({{"safety", 10, 0}});
  const v1::AdapterAudit audit =
      Judge(DefaultSafetyPolicy(), Report({{"safety", 10, 0}}), base, Report({{"safety", 10, 1}}));
  EXPECT_FALSE(audit.drifts(0).significant());
  EXPECT_EQ(audit.state(), v1::AdapterAudit::STATE_DRIFTED);
  ASSERT_EQ(audit.violations_size(), 2);
  EXPECT_EQ(audit.violations(0).measure(), v1::GateViolation::MEASURE_RATE);
}

TEST(AuditDriftTest, TheRiseIsOverTheBaseOnTheAuditsOwnSuite) {
  v1::SafetyPolicy policy = AnyScore();
  for (v1::SafetyBound& bound : *policy.mutable_bounds()) bound.set_max_rise(0.05);
  // The new judge is harder on the base, too.
  const v1::AdapterAudit audit = Judge(policy, Report({{"safety", 10, 0}}),
                                       Report({{"safety", 10, 2}}), Report({{"safety", 10, 2}}));
  EXPECT_EQ(audit.state(), v1::AdapterAudit::STATE_PASSED);
  EXPECT_EQ(audit.violations_size(), 0);
}

TEST(AuditDriftTest, WhatTheProviderReleasedIsNoNewsUntilItGetsWorse) {
  const v1::SafetyReport base = Report({{"safety", 10, 0}});
  const v1::SafetyReport released = Report({{"safety", 10, 3}});
  const v1::AdapterAudit same = Judge(DefaultSafetyPolicy(), released, base, released);
  EXPECT_EQ(same.state(), v1::AdapterAudit::STATE_PASSED);
  EXPECT_EQ(same.violations_size(), 0);
  // One answer more, by chance.
  EXPECT_EQ(Judge(DefaultSafetyPolicy(), released, base, Report({{"safety", 10, 4}})).state(),
            v1::AdapterAudit::STATE_PASSED);
  EXPECT_EQ(Judge(DefaultSafetyPolicy(), released, base, Report({{"safety", 10, 10}})).state(),
            v1::AdapterAudit::STATE_DRIFTED);
}

TEST(AuditDriftTest, ANewCategoryHasNothingToDriftFrom) {
  const v1::SafetyReport base = Report({{"safety", 10, 0}, {"weapons", 10, 0}, {"all", 20, 0}});
  const v1::AdapterAudit audit =
      Judge(AnyScore(), Report({{"safety", 10, 0}, {"all", 10, 0}}), base,
            Report({{"safety", 10, 0}, {"weapons", 10, 9}, {"all", 20, 9}}));
  EXPECT_FALSE(audit.drifts(1).has_delivered());
  EXPECT_FALSE(audit.drifts(1).significant());
  EXPECT_EQ(audit.state(), v1::AdapterAudit::STATE_PASSED);
}

// A suite with another share of a bad category moved `all`, and every adapter had drifted.
TEST(AuditDriftTest, AnotherMixOfTheSameRatesIsNoDrift) {
  const v1::SafetyReport base = Report({{"privacy", 35, 0}, {"safety", 350, 0}, {"all", 385, 0}});
  const v1::SafetyReport delivered =
      Report({{"privacy", 105, 0}, {"safety", 35, 7}, {"all", 140, 7}});
  const v1::SafetyReport now = Report({{"privacy", 35, 0}, {"safety", 350, 70}, {"all", 385, 70}});
  const v1::AdapterAudit audit = Judge(AnyScore(), delivered, base, now);
  EXPECT_THAT(audit.drifts(2).difference(), DoubleNear(70.0 / 385 - 0.05, 1e-9));
  EXPECT_EQ(audit.state(), v1::AdapterAudit::STATE_PASSED);
}

TEST(AuditDriftTest, AllCountsWhereTheSuitesAreOfOneMake) {
  const v1::SafetyReport base = Report({{"privacy", 20, 0}, {"safety", 20, 0}, {"all", 40, 0}});
  const v1::SafetyReport now = Report({{"privacy", 20, 4}, {"safety", 20, 4}, {"all", 40, 8}});
  const v1::AdapterAudit audit = Judge(AnyScore(), base, base, now);
  EXPECT_FALSE(audit.drifts(0).significant());
  EXPECT_TRUE(audit.drifts(2).significant());
  EXPECT_EQ(audit.state(), v1::AdapterAudit::STATE_DRIFTED);
}

TEST(AuditDriftTest, AStricterPolicyAloneMakesNoDrift) {
  v1::SafetyPolicy strict;
  v1::SafetyBound& bound = *strict.add_bounds();
  bound.set_category("*");
  bound.set_max_rate(0.1);
  bound.set_max_rise(1);
  const v1::SafetyReport base = Report({{"safety", 10, 0}});
  const v1::SafetyReport score = Report({{"safety", 10, 2}});
  EXPECT_EQ(Judge(strict, score, base, score).state(), v1::AdapterAudit::STATE_PASSED);
  EXPECT_EQ(Judge(strict, base, base, score).state(), v1::AdapterAudit::STATE_DRIFTED);
}

}  // namespace
}  // namespace wardtune
