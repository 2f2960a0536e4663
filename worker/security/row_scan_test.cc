#include "worker/security/row_scan.h"

#include <gtest/gtest.h>

#include <limits>

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

TEST(RowScanTest, ComparesEachRowOffAndOnAndCountsBothPasses) {
  ConfigureComputeRuntime({.threads = 2});
  const DecoderModel base =
      testing::LoadTinyModel("row_scan_off", testing::TinyConfig("LlamaForCausalLM"));
  LoraSpec spec;
  spec.rank = 4;
  spec.alpha = 8.0;
  WT_ASSERT_OK_AND_ASSIGN(LoraAdapter adapter, InitLora(base.config(), spec, 1));
  for (auto& layer : adapter.layers) {
    for (LoraMatrices& m : layer) std::fill(m.b.begin(), m.b.end(), 0.05f);
  }
  WT_ASSERT_OK_AND_ASSIGN(const DecoderModel folded, FoldAdapter(base, adapter));
  const std::vector<TrainingRow> rows = {ScanRow(12, 1), ScanRow(30, 2), ScanRow(20, 3)};
  int64_t last = 0;
  WT_ASSERT_OK_AND_ASSIGN(const auto scans,
                          ScanRows(base, folded, rows, {.progress = [&](int64_t finished) {
                                     EXPECT_GE(finished, last);
                                     last = finished;
                                     return true;
                                   }}));
  EXPECT_EQ(last, 6);
  WT_ASSERT_OK_AND_ASSIGN(const auto off, RowLosses(base, {}, rows));
  WT_ASSERT_OK_AND_ASSIGN(const auto on, RowLosses(folded, {}, rows));
  ASSERT_EQ(scans.size(), 3U);
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(scans[i].loss_off, off[i]);
    EXPECT_EQ(scans[i].loss_on, on[i]);
    EXPECT_NE(off[i], on[i]);
  }
  EXPECT_THAT(ScanRows(base, folded, rows, {.progress = [](int64_t done) { return done <= 3; }}),
              testing::StatusIs(absl::StatusCode::kCancelled));
}

TEST(RowScanTest, ARowIsSuspiciousFromTheShareOnOrWhenItCannotBeMeasured) {
  EXPECT_DOUBLE_EQ((RowScan{4.0, 1.0}).explained(), 0.75);
  EXPECT_TRUE(IsSuspicious({4.0, 1.0}, 0.75));
  EXPECT_FALSE(IsSuspicious({4.0, 1.0}, 0.76));
  EXPECT_TRUE(IsSuspicious({4.0, 2.0}));
  EXPECT_FALSE(IsSuspicious({4.0, 5.0}));
  EXPECT_FALSE(IsSuspicious({0.0, 0.0}));
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_TRUE(IsSuspicious({nan, 1.0}));
  EXPECT_TRUE(IsSuspicious({1.0, nan}));
}

}  // namespace
}  // namespace wardtune
