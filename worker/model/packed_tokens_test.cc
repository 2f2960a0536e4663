#include "worker/model/packed_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "worker/model/torch_ops.h"

namespace wardtune {
namespace {

using ::testing::ElementsAre;

PackedTokens Pack(const std::vector<std::vector<int32_t>>& sequences,
                  const std::vector<SharedPrefix>& prefixes) {
  return PackTokens(std::vector<std::span<const int32_t>>(sequences.begin(), sequences.end()),
                    at::kCPU, prefixes);
}

std::vector<int64_t> Values(const at::Tensor& x) {
  const auto* begin = x.const_data_ptr<int64_t>();
  return {begin, begin + x.numel()};
}

TEST(PackedTokensTest, SequencesLieOneBehindTheOther) {
  const PackedTokens tokens = Pack({{5, 6}, {5, 7, 8}}, {});
  EXPECT_THAT(Values(tokens.ids), ElementsAre(5, 6, 5, 7, 8));
  EXPECT_THAT(Values(tokens.positions), ElementsAre(0, 1, 0, 1, 2));
  EXPECT_THAT(tokens.offsets, ElementsAre(0, 2, 5));
  EXPECT_FALSE(tokens.whole.has_value());
  EXPECT_FALSE(Pack({{5, 6}, {5, 7}}, {{0, 0}, {0, 0}}).whole.has_value());
}

TEST(PackedTokensTest, SharedTokensAreThereOnce) {
  const PackedTokens tokens =
      Pack({{1, 2, 3}, {1, 2, 4, 5}, {9}, {1, 6}}, {{0, 0}, {0, 2}, {0, 0}, {0, 1}});
  EXPECT_THAT(Values(tokens.ids), ElementsAre(1, 2, 3, 4, 5, 9, 6));
  EXPECT_THAT(Values(tokens.positions), ElementsAre(0, 1, 2, 2, 3, 0, 1));
  EXPECT_THAT(tokens.offsets, ElementsAre(0, 1, 5, 5, 7)) << "row minus token number";
  const WholeSequences& whole = tokens.whole.value();
  EXPECT_THAT(whole.offsets, ElementsAre(0, 3, 7, 8, 10));
  EXPECT_THAT(Values(whole.rows), ElementsAre(0, 1, 2, 0, 1, 3, 4, 5, 0, 6));
  EXPECT_THAT(Values(whole.first), ElementsAre(0, 1, 2, 5, 6, 7, 9));
  ASSERT_EQ(whole.copies.size(), 2);
  EXPECT_EQ(whole.copies[1].begin, 8);
  EXPECT_EQ(whole.copies[1].row, 0);
  EXPECT_EQ(whole.copies[1].tokens, 1);
}

}  // namespace
}  // namespace wardtune
