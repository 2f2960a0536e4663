#include "worker/security/strip_check.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <list>
#include <vector>

#include "base/status_matchers.h"
#include "worker/security/sum_vectors.h"
#include "worker/security/testing/random_vector.h"

namespace wardtune {
namespace {

// An adapter whose B is not zero, as after training.
LoraAdapter Trained(uint64_t seed, int64_t rank) {
  LoraSpec spec;
  spec.rank = rank;
  spec.alpha = 2.0 * static_cast<double>(rank);
  LoraAdapter adapter = *InitLora(testing::TwoLayerConfig(), spec, seed);
  LoraAdapter other = *InitLora(testing::TwoLayerConfig(), spec, seed + 1000);
  for (size_t l = 0; l < adapter.layers.size(); ++l) {
    for (Projection projection : kAllProjections) {
      LoraMatrices& m = adapter.at(l, projection);
      const std::vector<float>& random = other.at(l, projection).a;
      for (size_t i = 0; i < m.b.size(); ++i) m.b[i] = random[i % random.size()];
    }
  }
  return adapter;
}

// The same from whole matrices.
double DenseCosine(const LoraMatrices& m1, int64_t r1, const LoraMatrices& m2, int64_t r2) {
  const size_t in = m1.a.size() / r1;
  const size_t out = m1.b.size() / r1;
  double dot = 0.0, n1 = 0.0, n2 = 0.0;
  for (size_t o = 0; o < out; ++o) {
    for (size_t i = 0; i < in; ++i) {
      double d1 = 0.0, d2 = 0.0;
      for (int64_t k = 0; k < r1; ++k) d1 += double{m1.b[o * r1 + k]} * m1.a[k * in + i];
      for (int64_t k = 0; k < r2; ++k) d2 += double{m2.b[o * r2 + k]} * m2.a[k * in + i];
      dot += d1 * d2;
      n1 += d1 * d1;
      n2 += d2 * d2;
    }
  }
  return std::abs(dot) / std::sqrt(n1 * n2);
}

TEST(StripCheckTest, EqualsTheCosineOfTheWholeMatrices) {
  const LoraAdapter one = Trained(1, 4);
  const LoraAdapter two = Trained(2, 3);
  double expected = 0.0;
  for (size_t l = 0; l < one.layers.size(); ++l) {
    for (Projection p : kAllProjections) {
      expected = std::max(expected, DenseCosine(one.at(l, p), 4, two.at(l, p), 3));
    }
  }
  WT_ASSERT_OK_AND_ASSIGN(const double cosine, MaxDeltaCosine(one, two));
  EXPECT_NEAR(cosine, expected, 1e-9);
  EXPECT_LT(cosine, kStripMaxCosine);
}

TEST(StripCheckTest, CatchesAnAdapterThatContainsTheVector) {
  const LoraAdapter vector = Trained(2, 4);
  WT_ASSERT_OK_AND_ASSIGN(const double itself, MaxDeltaCosine(vector, vector));
  EXPECT_NEAR(itself, 1.0, 1e-9);
  const std::vector<LoraAdapter> parts = {Trained(1, 4), vector};
  WT_ASSERT_OK_AND_ASSIGN(const LoraAdapter both, SumVectors(parts));
  WT_ASSERT_OK_AND_ASSIGN(const double sum, MaxDeltaCosine(both, vector));
  EXPECT_GT(sum, kStripMaxCosine);
}

TEST(StripCheckTest, CatchesTheVectorUnderOtherFactors) {
  const LoraAdapter vector = Trained(2, 4);
  LoraAdapter disguised = vector;
  for (auto& layer : disguised.layers) {
    for (LoraMatrices& m : layer) {
      for (float& value : m.a) value *= -0.125f;
      for (float& value : m.b) value *= 3.0f;
    }
  }
  WT_ASSERT_OK_AND_ASSIGN(const double cosine, MaxDeltaCosine(disguised, vector));
  EXPECT_NEAR(cosine, 1.0, 1e-6);
}

TEST(StripCheckTest, AnUntrainedAdapterHasNoDirection) {
  WT_ASSERT_OK_AND_ASSIGN(const LoraAdapter zero,
                          InitLora(testing::TwoLayerConfig(), LoraSpec{.rank = 4}, 1));
  WT_ASSERT_OK_AND_ASSIGN(const double cosine, MaxDeltaCosine(zero, Trained(2, 4)));
  EXPECT_EQ(cosine, 0.0);
}

// The delta of an adapter as whole matrices, as full-parameter training makes them.
struct DenseDelta {
  explicit DenseDelta(const LoraAdapter& adapter) {
    for (size_t l = 0; l < adapter.layers.size(); ++l) {
      view.layers.emplace_back();
      for (const Projection p : kAllProjections) Add(adapter.at(l, p), adapter.spec, p);
    }
  }

  void Add(const LoraMatrices& m, const LoraSpec& spec, Projection projection) {
    const ProjectionShape shape = ShapeOf(testing::TwoLayerConfig(), projection);
    auto& values = matrices.emplace_back(static_cast<size_t>(shape.out * shape.in));
    for (int64_t i = 0; i < shape.out * shape.in; ++i) {
      for (int64_t k = 0; k < spec.rank; ++k) {
        values[i] += static_cast<float>(spec.scale()) * m.b[i / shape.in * spec.rank + k] *
                     m.a[k * shape.in + i % shape.in];
      }
    }
    view.layers.back()[static_cast<int>(projection)] = {shape.out, shape.in, values};
  }

  std::list<std::vector<float>> matrices;  // the views point into it
  WeightDelta view;
};

TEST(StripCheckTest, WholeMatricesGiveTheCosineOfTheirFactors) {
  const LoraAdapter one = Trained(1, 4);
  const LoraAdapter two = Trained(2, 3);
  WT_ASSERT_OK_AND_ASSIGN(const double expected, MaxDeltaCosine(one, two));
  WT_ASSERT_OK_AND_ASSIGN(const double cosine, MaxDeltaCosine(DenseDelta(one).view, two));
  EXPECT_NEAR(cosine, expected, 1e-6);
  WT_ASSERT_OK_AND_ASSIGN(const double itself, MaxDeltaCosine(DenseDelta(two).view, two));
  EXPECT_NEAR(itself, 1.0, 1e-6);
}

TEST(StripCheckTest, RefusesWholeMatricesThatAreBrokenOrOfAnotherModel) {
  const LoraAdapter vector = Trained(2, 4);
  DenseDelta broken(Trained(1, 4));
  broken.matrices.back()[5] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(MaxDeltaCosine(broken.view, vector),
              ::wardtune::testing::StatusIs(absl::StatusCode::kInternal));
  DenseDelta shorter(Trained(1, 4));
  shorter.view.layers.pop_back();
  EXPECT_THAT(MaxDeltaCosine(shorter.view, vector),
              ::wardtune::testing::StatusIs(absl::StatusCode::kInvalidArgument));
  DenseDelta narrow(Trained(1, 4));
  narrow.view.layers[1][static_cast<int>(Projection::kDown)].cols -= 1;
  EXPECT_THAT(MaxDeltaCosine(narrow.view, vector),
              ::wardtune::testing::StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(StripCheckTest, RefusesWhatIsNotFinite) {
  for (const float value :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    LoraAdapter broken = Trained(1, 4);
    broken.at(1, Projection::kV).b[3] = value;
    EXPECT_THAT(MaxDeltaCosine(broken, Trained(2, 4)),
                ::wardtune::testing::StatusIs(absl::StatusCode::kInternal));
    EXPECT_THAT(MaxDeltaCosine(Trained(2, 4), broken),
                ::wardtune::testing::StatusIs(absl::StatusCode::kInternal));
  }
}

TEST(StripCheckTest, RefusesAnotherModelsVector) {
  LoraAdapter shorter = Trained(2, 4);
  shorter.layers.pop_back();
  EXPECT_THAT(MaxDeltaCosine(Trained(1, 4), shorter),
              ::wardtune::testing::StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace wardtune
