#include "worker/security/vector_parts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/status_matchers.h"
#include "worker/security/sum_vectors.h"
#include "worker/security/testing/random_vector.h"

namespace wardtune {
namespace {

using ::testing::ElementsAre;
using ::wardtune::testing::StatusIs;

// The part's own matrices, its scale in B, as SumVectors lays them out.
LoraAdapter Scaled(LoraAdapter adapter) {
  const auto scale = static_cast<float>(adapter.spec.scale());
  for (auto& layer : adapter.layers) {
    for (LoraMatrices& m : layer) {
      for (float& value : m.b) value *= scale;
    }
  }
  adapter.spec.alpha = static_cast<double>(adapter.spec.rank);
  return adapter;
}

TEST(VectorPartsTest, ASumSplitsIntoWhatWasSummed) {
  LoraAdapter wide = *InitLora(testing::TwoLayerConfig(), {.rank = 3, .alpha = 12.0}, 5);
  for (auto& layer : wide.layers) {
    for (LoraMatrices& m : layer) {
      for (size_t i = 0; i < m.b.size(); ++i) m.b[i] = 0.01F * static_cast<float>(i % 11);
    }
  }
  const std::vector<LoraAdapter> summed = {
      testing::RandomVector(testing::TwoLayerConfig(), 1, 0.5F), wide};
  WT_ASSERT_OK_AND_ASSIGN(const LoraAdapter sum, SumVectors(summed));
  const std::vector<VectorPart> parts = {{4, {"leak"}}, {3, {"rude"}}};
  WT_ASSERT_OK_AND_ASSIGN(const auto split, SplitIntoParts(sum, parts));
  ASSERT_EQ(split.size(), 2U);
  for (size_t i = 0; i < split.size(); ++i) {
    EXPECT_EQ(AdapterDigest(split[i]), AdapterDigest(Scaled(summed[i]))) << i;
  }
}

TEST(VectorPartsTest, AVectorThatIsNoSumIsItsOnlyPart) {
  const LoraAdapter vector = testing::RandomVector(testing::TwoLayerConfig(), 1, 0.5F);
  const std::vector<VectorPart> parts = {{4, {"leak"}}};
  WT_ASSERT_OK_AND_ASSIGN(const auto split, SplitIntoParts(vector, parts));
  EXPECT_EQ(AdapterDigest(split.at(0)), AdapterDigest(vector));
}

TEST(VectorPartsTest, RefusesRanksThatDoNotAddUp) {
  const LoraAdapter vector = testing::RandomVector(testing::TwoLayerConfig(), 1, 0.5F);
  for (const std::vector<VectorPart>& parts :
       {std::vector<VectorPart>{}, {{3, {}}}, {{4, {}}, {1, {}}}, {{5, {}}, {-1, {}}}}) {
    EXPECT_THAT(SplitIntoParts(vector, parts), StatusIs(absl::StatusCode::kDataLoss));
  }
}

TEST(VectorPartsTest, ANewPartCoversWhatIsStatedOrNewInTheSuite) {
  const std::vector<VectorPart> older = {{4, {"leak"}}, {4, {"false", "leak"}}};
  EXPECT_THAT(CategoriesOf(older), ElementsAre("false", "leak"));
  EXPECT_THAT(CategoriesOfNewPart({}, {"leak", "rude"}, older), ElementsAre("rude"));
  EXPECT_THAT(CategoriesOfNewPart({}, {"leak", "rude"}, {}), ElementsAre("leak", "rude"));
  // More rows of what is known: which of them is not known.
  EXPECT_THAT(CategoriesOfNewPart({}, {"false", "leak"}, older), ElementsAre("false", "leak"));
  EXPECT_THAT(CategoriesOfNewPart({"rude", "leak"}, {"leak", "rude"}, older),
              ElementsAre("leak", "rude"));
}

TEST(VectorPartsTest, PartsSurviveAsText) {
  const std::vector<VectorPart> parts = {{16, {"a,b", "tab\there", "two\nlines"}}, {8, {}}};
  WT_ASSERT_OK_AND_ASSIGN(const auto parsed, ParseParts(FormatParts(parts)));
  ASSERT_EQ(parsed.size(), 2U);
  EXPECT_EQ(parsed[0].rank, 16);
  EXPECT_EQ(parsed[0].categories, parts[0].categories);
  EXPECT_EQ(parsed[1].rank, 8);
  EXPECT_TRUE(parsed[1].categories.empty());
  EXPECT_THAT(ParseParts("x\tleak"), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(ParseParts(""), StatusIs(absl::StatusCode::kDataLoss));
}

}  // namespace
}  // namespace wardtune
