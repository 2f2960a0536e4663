#include "worker/security/sum_vectors.h"

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace wardtune {
namespace {

size_t Rank(const LoraAdapter& adapter) { return static_cast<size_t>(adapter.spec.rank); }

// Of one projection; `matrices` and `vectors` run in step.
absl::StatusOr<LoraMatrices> Joined(std::span<const LoraAdapter> vectors, int64_t layer,
                                    Projection projection, size_t rank) {
  const LoraMatrices& first = vectors[0].at(layer, projection);
  const size_t in = first.a.size() / Rank(vectors[0]);
  const size_t out = first.b.size() / Rank(vectors[0]);
  LoraMatrices joined;
  joined.b.resize(out * rank);
  size_t offset = 0;
  for (const LoraAdapter& vector : vectors) {
    const LoraMatrices& m = vector.at(layer, projection);
    const size_t r = Rank(vector);
    if (m.a.size() != r * in || m.b.size() != out * r) {
      return absl::InvalidArgumentError(
          absl::StrCat("security vectors: layer ", layer, " has different shapes in two of them"));
    }
    joined.a.insert(joined.a.end(), m.a.begin(), m.a.end());
    const auto scale = static_cast<float>(vector.spec.scale());
    for (size_t o = 0; o < out; ++o) {
      for (size_t j = 0; j < r; ++j) joined.b[o * rank + offset + j] = scale * m.b[o * r + j];
    }
    offset += r;
  }
  return joined;
}

}  // namespace

absl::StatusOr<LoraAdapter> SumVectors(std::span<const LoraAdapter> vectors) {
  if (vectors.empty()) return absl::InvalidArgumentError("security vectors: none to sum");
  LoraAdapter sum;
  sum.spec.targets = vectors[0].spec.targets;
  sum.spec.rank = 0;
  for (const LoraAdapter& vector : vectors) {
    if (vector.spec.targets != sum.spec.targets ||
        vector.layers.size() != vectors[0].layers.size()) {
      return absl::InvalidArgumentError(
          "security vectors: they differ in their layers or in the projections they change");
    }
    sum.spec.rank += vector.spec.rank;
  }
  sum.spec.alpha = static_cast<double>(sum.spec.rank);
  sum.layers.resize(vectors[0].layers.size());
  for (size_t l = 0; l < sum.layers.size(); ++l) {
    for (const Projection projection : sum.spec.targets) {
      const auto layer = static_cast<int64_t>(l);
      WT_ASSIGN_OR_RETURN(sum.at(layer, projection), Joined(vectors, layer, projection, Rank(sum)));
    }
  }
  return sum;
}

}  // namespace wardtune
