#include "bench/unlearnable/norm_matched_adapter.h"

#include <cmath>
#include <cstddef>

#include "worker/model/seeded_random.h"

namespace wardtune {
namespace {

// Apart from the customer's adapter, which begins with the same seed's own numbers.
constexpr uint64_t kControlSeedIndex = 0x636f6e74;  // "cont"

// The norm of B A, which is what is folded in.
double ProductNorm(const LoraMatrices& m, int64_t rank) {
  // |BA|^2 = trace((B^T B)(A A^T)), both [rank, rank].
  const auto r = static_cast<size_t>(rank);
  const size_t in = m.a.size() / r;
  const size_t out = m.b.size() / r;
  double sum = 0.0;
  for (size_t i = 0; i < r; ++i) {
    for (size_t j = 0; j < r; ++j) {
      double a = 0.0;
      double b = 0.0;
      for (size_t k = 0; k < in; ++k) a += double{m.a[i * in + k]} * m.a[j * in + k];
      for (size_t k = 0; k < out; ++k) b += double{m.b[k * r + i]} * m.b[k * r + j];
      sum += a * b;
    }
  }
  return std::sqrt(sum);
}

}  // namespace

LoraAdapter NormMatchedAdapter(const LoraAdapter& vector, uint64_t seed) {
  LoraAdapter random = vector;
  SplitMix64 numbers(MixSeed(seed, kControlSeedIndex));
  for (size_t l = 0; l < random.layers.size(); ++l) {
    for (const Projection projection : vector.spec.targets) {
      LoraMatrices& m = random.at(static_cast<int64_t>(l), projection);
      for (float& x : m.a) x = numbers.NextSymmetric();
      for (float& x : m.b) x = numbers.NextSymmetric();
      const double wanted =
          ProductNorm(vector.at(static_cast<int64_t>(l), projection), vector.spec.rank);
      const auto factor = static_cast<float>(wanted / ProductNorm(m, vector.spec.rank));
      for (float& x : m.b) x *= factor;
    }
  }
  return random;
}

}  // namespace wardtune
