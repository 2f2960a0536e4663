#include "worker/model/packed_weights.h"

#include <gtest/gtest.h>

#include "worker/model/cpu_features.h"
#include "worker/model/torch_ops.h"

namespace wardtune {
namespace {

at::Tensor Random(int64_t rows, int64_t columns) {
  return at::randn({rows, columns}).to(at::kBFloat16);
}

// One layer whose matrices are [n, k], and a head of the same shape.
ModelWeights Weights(int64_t n, int64_t k) {
  ModelWeights weights;
  weights.dtype = at::kBFloat16;
  weights.head = Random(n, k);
  weights.layers.resize(1);
  for (LinearWeights& linear : weights.layers[0].linear) linear.weight = Random(n, k);
  return weights;
}

TEST(PackedWeightsTest, MultipliesAsTheGeneralProductDoes) {
  if (!CpuHasAvx512Bf16()) GTEST_SKIP() << "no avx512_bf16";
  at::manual_seed(1);
  // Row counts on both sides of a tile, columns that do not fill a block.
  for (const int64_t n : {32, 45, 96}) {
    for (const int64_t k : {2, 62, 63, 576}) {
      const ModelWeights weights = Weights(n, k);
      const auto packed = PackedWeights::Of(weights);
      ASSERT_TRUE(packed.has_value());
      for (const int64_t rows : {1, 2, 11, 12, 13, 25, 64, 100, 513}) {
        const at::Tensor x = Random(rows, k);
        const at::Tensor expected = at::mm(
            x.to(at::kFloat), weights.layers[0].at(FusedLinear::kO).weight.to(at::kFloat).t());
        const at::Tensor found = packed->Multiply(0, FusedLinear::kO, x).to(at::kFloat);
        const double error =
            ((found - expected).norm() / expected.norm().clamp_min(1e-6)).item<double>();
        EXPECT_LT(error, 4e-3) << rows << " x " << k << " x " << n;
        EXPECT_TRUE(packed->MultiplyHead(x).sizes() == at::IntArrayRef({rows, n}));
      }
    }
  }
}

TEST(PackedWeightsTest, NothingForTypesWithoutAKernel) {
  ModelWeights weights = Weights(32, 64);
  weights.dtype = at::kFloat;
  EXPECT_FALSE(PackedWeights::Of(weights).has_value());
}

}  // namespace
}  // namespace wardtune
