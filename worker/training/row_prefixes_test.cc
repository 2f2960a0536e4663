#include "worker/training/row_prefixes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace wardtune {
namespace {

using ::testing::ElementsAre;

// Supervised from token `supervised` on.
TrainingRow Row(std::vector<int32_t> ids, size_t supervised) {
  std::vector<uint8_t> mask(ids.size(), 0);
  std::fill(mask.begin() + static_cast<std::ptrdiff_t>(supervised), mask.end(), 1);
  return {std::move(ids), std::move(mask)};
}

std::vector<int64_t> Shared(const std::vector<TrainingRow>& rows) {
  std::vector<const TrainingRow*> pointers;
  for (const TrainingRow& row : rows) pointers.push_back(&row);
  std::vector<SharedPrefix> prefixes = {{0, 0}, {0, 0}};  // of another job's rows
  AppendPrefixes(pointers, prefixes);
  std::vector<int64_t> shared;
  for (size_t i = 2; i < prefixes.size(); ++i) {
    EXPECT_EQ(prefixes[i].with, 2);
    shared.push_back(prefixes[i].tokens);
  }
  return shared;
}

int64_t Common(const std::vector<TrainingRow>& rows) {
  std::vector<const TrainingRow*> pointers;
  for (const TrainingRow& row : rows) pointers.push_back(&row);
  return CommonPrefix(pointers);
}

TEST(RowPrefixesTest, RowsShareWhatTheyBeginWithAlike) {
  const std::vector<TrainingRow> rows = {Row({1, 2, 3, 4, 5, 6, 7, 8}, 7),
                                         Row({1, 2, 3, 4, 5, 9, 9, 9}, 7),
                                         Row({1, 2, 3, 4, 5, 6, 9, 9}, 7)};
  EXPECT_THAT(Shared(rows), ElementsAre(0, 5, 6));
  EXPECT_EQ(Common(rows), 5);
}

TEST(RowPrefixesTest, LessThanATwentiethOfARowIsNotWorthIt) {
  std::vector<TrainingRow> rows = {Row(std::vector<int32_t>(41, 5), 40),
                                   Row(std::vector<int32_t>(41, 5), 40)};
  rows[1].ids[3] = 9;
  EXPECT_THAT(Shared(rows), ElementsAre(0, 3));
  EXPECT_EQ(Common(rows), 3);
  rows[1].ids[2] = 9;
  EXPECT_THAT(Shared(rows), ElementsAre(0, 0));
  EXPECT_EQ(Common(rows), 0);
}

TEST(RowPrefixesTest, ARowKeepsTheStatesThatItsLossIsTakenFrom) {
  // Token 5 is predicted from token 4's state.
  const std::vector<int32_t> ids = {1, 2, 3, 4, 5, 6, 7};
  EXPECT_THAT(Shared({Row(ids, 6), Row(ids, 5)}), ElementsAre(0, 4));
  EXPECT_EQ(Common({Row(ids, 6), Row(ids, 5)}), 4);
  // Which row comes first in a micro-batch is not known yet.
  EXPECT_THAT(Shared({Row(ids, 5), Row(ids, 6)}), ElementsAre(0, 5));
  EXPECT_EQ(Common({Row(ids, 5), Row(ids, 6)}), 4);
  EXPECT_THAT(Shared({Row(ids, 6), Row(ids, 1)}), ElementsAre(0, 0));
}

TEST(RowPrefixesTest, ARowAloneSharesNothing) {
  EXPECT_EQ(Common({Row({1, 2, 3, 4, 5, 6}, 5)}), 0);
  EXPECT_EQ(Common({}), 0);
}

}  // namespace
}  // namespace wardtune
