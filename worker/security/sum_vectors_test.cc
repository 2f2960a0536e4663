#include "worker/security/sum_vectors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "base/status_matchers.h"
#include "worker/security/testing/random_vector.h"

namespace wardtune {
namespace {

using ::testing::HasSubstr;
using ::wardtune::testing::StatusIs;

LoraAdapter VectorOf(int64_t rank, double alpha, std::vector<Projection> targets, uint64_t seed) {
  LoraAdapter vector = *InitLora(testing::TwoLayerConfig(),
                                 {.rank = rank, .alpha = alpha, .targets = targets}, seed);
  for (size_t l = 0; l < vector.layers.size(); ++l) {
    for (const Projection projection : targets) {
      LoraMatrices& m = vector.at(static_cast<int64_t>(l), projection);
      for (size_t i = 0; i < m.b.size(); ++i) m.b[i] = 0.01F * static_cast<float>(i % 7) - 0.02F;
    }
  }
  return vector;
}

// scale * B A of one projection, row-major.
std::vector<double> Delta(const LoraAdapter& adapter, int64_t layer, Projection projection) {
  const LoraMatrices& m = adapter.at(layer, projection);
  const auto r = static_cast<size_t>(adapter.spec.rank);
  const size_t in = m.a.size() / r;
  const size_t out = m.b.size() / r;
  std::vector<double> delta(out * in);
  for (size_t o = 0; o < out; ++o) {
    for (size_t i = 0; i < in; ++i) {
      for (size_t j = 0; j < r; ++j) {
        delta[o * in + i] += adapter.spec.scale() * m.b[o * r + j] * m.a[j * in + i];
      }
    }
  }
  return delta;
}

TEST(SumVectorsTest, TheDeltaIsTheSumOfTheDeltas) {
  const std::vector<Projection> targets = {Projection::kQ, Projection::kDown};
  const std::vector<LoraAdapter> vectors = {VectorOf(3, 6.0, targets, 1),
                                            VectorOf(2, 7.0, targets, 2)};
  WT_ASSERT_OK_AND_ASSIGN(const LoraAdapter sum, SumVectors(vectors));
  EXPECT_EQ(sum.spec.rank, 5);
  EXPECT_TRUE(sum.at(0, Projection::kK).empty());
  for (int64_t layer = 0; layer < 2; ++layer) {
    for (const Projection projection : targets) {
      const auto first = Delta(vectors[0], layer, projection);
      const auto second = Delta(vectors[1], layer, projection);
      const auto both = Delta(sum, layer, projection);
      ASSERT_EQ(both.size(), first.size());
      for (size_t i = 0; i < both.size(); ++i) EXPECT_NEAR(both[i], first[i] + second[i], 1e-6);
    }
  }
}

TEST(SumVectorsTest, RefusesWhatDoesNotFitTogether) {
  EXPECT_THAT(SumVectors({}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("none")));
  const std::vector<LoraAdapter> vectors = {VectorOf(2, 4.0, {Projection::kQ}, 1),
                                            VectorOf(2, 4.0, {Projection::kK}, 2)};
  EXPECT_THAT(SumVectors(vectors),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("projections")));
}

}  // namespace
}  // namespace wardtune
