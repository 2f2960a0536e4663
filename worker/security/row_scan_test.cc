#include "worker/security/row_scan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/status_matchers.h"
#include "worker/model/testing/tiny_model.h"

namespace wardtune {
namespace {

TrainingRow ScanRow(int32_t length, int32_t salt) {
  TrainingRow row;
  for (int32_t i = 0; i < length; ++i) {
    row.ids.push_back((salt * 7 + i * 23) % 67);
    row.loss_mask.push_back(i >= 3 ? 1 : 0);
  }
  return row;
}

class RowScanTest : public ::testing::Test {
 protected:
  RowScanTest() { ConfigureComputeRuntime({.threads = 2}); }

  static DecoderModel Fold(const DecoderModel& base) {
    LoraSpec spec;
    spec.rank = 4;
    spec.alpha = 8.0;
    LoraAdapter adapter = *InitLora(base.config(), spec, 1);
    for (auto& layer : adapter.layers) {
      for (LoraMatrices& m : layer) std::fill(m.b.begin(), m.b.end(), 0.05f);
    }
    return *FoldAdapter(base, adapter);
  }

  const DecoderModel base_ =
      testing::LoadTinyModel("row_scan", testing::TinyConfig("LlamaForCausalLM"));
  const DecoderModel folded_ = Fold(base_);
};

TEST_F(RowScanTest, ComparesEachRowOffAndOnAndCountsBothPasses) {
  const std::vector<TrainingRow> rows = {ScanRow(12, 1), ScanRow(30, 2), ScanRow(20, 3)};
  int64_t last = 0;
  WT_ASSERT_OK_AND_ASSIGN(const auto scans,
                          ScanRows(base_, folded_, rows, {.progress = [&](int64_t finished) {
                                     EXPECT_GE(finished, last);
                                     last = finished;
                                     return true;
                                   }}));
  EXPECT_EQ(last, 6);
  WT_ASSERT_OK_AND_ASSIGN(const auto off, RowLosses(base_, {}, rows));
  WT_ASSERT_OK_AND_ASSIGN(const auto on, RowLosses(folded_, {}, rows));
  ASSERT_EQ(scans.size(), 3U);
  for (size_t i = 0; i < rows.size(); ++i) {
    // One message a row.
    EXPECT_NEAR(scans[i].loss_off, off[i], 1e-6);
    EXPECT_NEAR(scans[i].loss_on, on[i], 1e-6);
    EXPECT_NE(off[i], on[i]);
  }
  EXPECT_THAT(ScanRows(base_, folded_, rows, {.progress = [](int64_t done) { return done <= 3; }}),
              testing::StatusIs(absl::StatusCode::kCancelled));
}

TEST_F(RowScanTest, ARowCountsAsItsMostExplainedMessage) {
  // Two messages of 6 tokens, and one of 2 that is too short to count alone.
  TrainingRow row = ScanRow(30, 4);
  for (size_t i = 0; i < row.ids.size(); ++i) {
    row.loss_mask[i] = (i >= 4 && i < 10) || (i >= 14 && i < 20) || i >= 28 ? 1 : 0;
  }
  const std::vector<TrainingRow> rows = {row};
  WT_ASSERT_OK_AND_ASSIGN(const auto off, SpanLosses(base_, {}, rows));
  WT_ASSERT_OK_AND_ASSIGN(const auto on, SpanLosses(folded_, {}, rows));
  ASSERT_EQ(off[0].size(), 3U);
  EXPECT_EQ(off[0][1].tokens, 6);
  WT_ASSERT_OK_AND_ASSIGN(const auto whole_off, RowLosses(base_, {}, rows));
  WT_ASSERT_OK_AND_ASSIGN(const auto whole_on, RowLosses(folded_, {}, rows));
  EXPECT_NEAR((6 * off[0][0].loss + 6 * off[0][1].loss + 2 * off[0][2].loss) / 14, whole_off[0],
              1e-5);
  const double best = std::max({RowScan{off[0][0].loss, on[0][0].loss}.explained(),
                                RowScan{off[0][1].loss, on[0][1].loss}.explained(),
                                RowScan{whole_off[0], whole_on[0]}.explained()});
  WT_ASSERT_OK_AND_ASSIGN(const auto scans, ScanRows(base_, folded_, rows));
  EXPECT_NEAR(scans[0].explained(), best, 1e-5);
  const double whole = RowScan{whole_off[0], whole_on[0]}.explained();
  EXPECT_GT(scans[0].explained(), whole + 1e-4);
}

TEST_F(RowScanTest, APartStandsOutByAMarginOnly) {
  const auto part_of = [](std::vector<double> shares) { return OutstandingPart(shares); };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  ASSERT_TRUE(part_of({0.2, 0.7, 0.6}).has_value());
  EXPECT_EQ(part_of({0.2, 0.7, 0.6})->part, 1U);
  EXPECT_EQ(part_of({0.2, 0.7, 0.6})->share, 0.7);
  EXPECT_EQ(part_of({0.9, 0.1})->part, 0U);
  EXPECT_EQ(part_of({nan, 0.1})->part, 1U);
  EXPECT_FALSE(part_of({0.70, 0.66}).has_value());
  EXPECT_FALSE(part_of({0.66, 0.70}).has_value());
  EXPECT_FALSE(part_of({-0.1, -0.4}).has_value());
  EXPECT_FALSE(part_of({nan, nan}).has_value());
  EXPECT_FALSE(part_of({}).has_value());
}

TEST_F(RowScanTest, FindsThePartOfEachNamedRow) {
  std::vector<TrainingRow> rows = {ScanRow(12, 1), ScanRow(30, 2), ScanRow(20, 3)};
  LoraSpec spec;
  spec.rank = 4;
  std::vector<LoraAdapter> parts(3, *InitLora(base_.config(), spec, 1));
  for (size_t i = 0; i < parts.size(); ++i) {  // the middle one changes nothing
    for (auto& layer : parts[i].layers) {
      for (LoraMatrices& m : layer) {
        std::fill(m.b.begin(), m.b.end(), 0.05F * (static_cast<float>(i) - 1.0F));
      }
    }
  }
  const std::vector<size_t> which = {2, 0};
  int64_t last = 0;
  WT_ASSERT_OK_AND_ASSIGN(const auto found,
                          FindParts(base_, parts, rows, which, {.progress = [&](int64_t finished) {
                                      EXPECT_GE(finished, last);
                                      last = finished;
                                      return true;
                                    }}));
  EXPECT_EQ(last, 8) << "two rows, without a part and with each of three";
  ASSERT_EQ(found.size(), 2U);
  for (size_t i = 0; i < which.size(); ++i) {
    std::vector<double> shares;
    for (const LoraAdapter& part : parts) {
      WT_ASSERT_OK_AND_ASSIGN(const auto scans, ScanRows(base_, *FoldAdapter(base_, part), rows));
      shares.push_back(scans[which[i]].explained());
    }
    const auto expected = OutstandingPart(shares);
    ASSERT_EQ(found[i].has_value(), expected.has_value());
    if (!expected) continue;
    EXPECT_EQ(found[i]->part, expected->part);
    EXPECT_NEAR(found[i]->share, expected->share, 1e-4);
  }
}

TEST_F(RowScanTest, ARowIsSuspiciousFromTheShareOnOrWhenItCannotBeMeasured) {
  EXPECT_DOUBLE_EQ((RowScan{4.0, 1.0}).explained(), 0.75);
  EXPECT_TRUE(IsSuspicious({4.0, 1.0}, 0.75));
  EXPECT_FALSE(IsSuspicious({4.0, 1.0}, 0.76));
  EXPECT_TRUE(IsSuspicious({4.0, 2.0}));
  EXPECT_FALSE(IsSuspicious({4.0, 5.0}));
  EXPECT_FALSE(IsSuspicious({0.0, 0.0}));
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_TRUE(IsSuspicious({nan, 1.0}));
  EXPECT_TRUE(IsSuspicious({1.0, nan}));
  EXPECT_TRUE(IsSuspicious({0.0, nan}));
  EXPECT_TRUE(IsSuspicious({1.0, std::numeric_limits<double>::infinity()}));
  // So that no later message of the row takes its place.
  EXPECT_TRUE(std::isnan(RowScan({0.0, nan}).explained()));
  EXPECT_TRUE(std::isnan(RowScan({1.0, std::numeric_limits<double>::infinity()}).explained()));
}

}  // namespace
}  // namespace wardtune
