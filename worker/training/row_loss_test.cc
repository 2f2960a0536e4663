#include "worker/training/row_loss.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/status_matchers.h"
#include "worker/model/testing/tiny_model.h"
#include "worker/training/testing/token_rows.h"

namespace wardtune {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;
using ::wardtune::testing::StatusIs;

TrainingRow Row(int32_t length, int32_t salt) {
  TrainingRow row;
  for (int32_t i = 0; i < length; ++i) {
    row.ids.push_back((salt * 7 + i * 23) % 67);
    row.loss_mask.push_back(i >= 3 && i % 4 != 0 ? 1 : 0);
  }
  return row;
}

// From the logits of the row alone.
double Expected(const DecoderModel& model, const TrainingRow& row) {
  const auto logits = AllLogits(model, {}, row.ids);
  EXPECT_TRUE(logits.ok()) << logits.status();
  double sum = 0.0;
  int count = 0;
  for (size_t i = 1; i < row.ids.size(); ++i) {
    if (row.loss_mask[i] == 0) continue;
    const auto before = logits->row(static_cast<int64_t>(i) - 1);
    double normaliser = 0.0;
    for (const float x : before) normaliser += std::exp(static_cast<double>(x));
    sum += std::log(normaliser) - before[static_cast<size_t>(row.ids[i])];
    ++count;
  }
  return sum / count;
}

class RowLossTest : public ::testing::Test {
 protected:
  RowLossTest() { ConfigureComputeRuntime({.threads = 2}); }

  const DecoderModel model_ =
      testing::LoadTinyModel("row_loss", testing::TinyConfig("LlamaForCausalLM"));
};

TEST_F(RowLossTest, IsTheMeanOverEachRowsSupervisedTokens) {
  std::vector<TrainingRow> rows;
  for (int32_t i = 0; i < 9; ++i) rows.push_back(Row(20 + 5 * i, i));
  const std::vector<TrainingRow> alike = testing::AfterOnePrompt({rows.begin(), rows.begin() + 6});
  rows.insert(rows.end(), alike.begin(), alike.end());
  for (const int64_t budget : {30, 200, 2048}) {  // alone, two lanes, all at once
    WT_ASSERT_OK_AND_ASSIGN(const std::vector<double> losses,
                            RowLosses(model_, {}, rows, {.micro_batch_tokens = budget}));
    ASSERT_EQ(losses.size(), rows.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      EXPECT_NEAR(losses[i], Expected(model_, rows[i]), 1e-4) << "row " << i;
    }
  }
}

TEST_F(RowLossTest, BadRowsAreNamed) {
  std::vector<TrainingRow> rows = {Row(20, 1), Row(20, 2)};
  rows[1].ids[4] = 67;
  EXPECT_THAT(RowLosses(model_, {}, rows),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("row 1: token 4")));
  rows[1] = Row(20, 2);
  rows[0].loss_mask.assign(20, 0);
  rows[0].loss_mask[0] = 1;  // the first token is never a target
  EXPECT_THAT(RowLosses(model_, {}, rows),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("row 0: has no supervised")));
}

TEST_F(RowLossTest, ProgressCancels) {
  const std::vector<TrainingRow> rows = {Row(40, 1), Row(40, 2)};
  int64_t seen = 0;
  EXPECT_THAT(RowLosses(model_, {}, rows,
                        {.micro_batch_tokens = 40,
                         .progress = [&](int64_t finished) { return (seen = finished) > 1; }}),
              StatusIs(StatusCode::kCancelled));
  EXPECT_EQ(seen, 1);
}

}  // namespace
}  // namespace wardtune
