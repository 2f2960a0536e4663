#include "worker/security/strip_check.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"

namespace wardtune {
namespace {

// B1^T B2 with B1 [n, r1] and B2 [n, r2]: [r1, r2].
std::vector<double> ColumnProducts(const std::vector<float>& b1, int64_t r1,
                                   const std::vector<float>& b2, int64_t r2) {
  std::vector<double> products(r1 * r2, 0.0);
  const int64_t rows = static_cast<int64_t>(b1.size()) / r1;
  for (int64_t n = 0; n < rows; ++n) {
    for (int64_t i = 0; i < r1; ++i) {
      const double left = b1[n * r1 + i];
      for (int64_t j = 0; j < r2; ++j) products[i * r2 + j] += left * b2[n * r2 + j];
    }
  }
  return products;
}

// A1 A2^T with A1 [r1, n] and A2 [r2, n]: [r1, r2].
std::vector<double> RowProducts(const std::vector<float>& a1, int64_t r1,
                                const std::vector<float>& a2, int64_t r2) {
  std::vector<double> products(r1 * r2, 0.0);
  const int64_t cols = static_cast<int64_t>(a1.size()) / r1;
  for (int64_t i = 0; i < r1; ++i) {
    for (int64_t j = 0; j < r2; ++j) {
      double sum = 0.0;
      for (int64_t n = 0; n < cols; ++n) {
        sum += static_cast<double>(a1[i * cols + n]) * a2[j * cols + n];
      }
      products[i * r2 + j] = sum;
    }
  }
  return products;
}

// <B1 A1, B2 A2> = sum over (i, j) of (B1^T B2)_ij (A1 A2^T)_ij.
double InnerProduct(const LoraMatrices& m1, int64_t r1, const LoraMatrices& m2, int64_t r2) {
  const std::vector<double> left = ColumnProducts(m1.b, r1, m2.b, r2);
  const std::vector<double> right = RowProducts(m1.a, r1, m2.a, r2);
  double sum = 0.0;
  for (size_t i = 0; i < left.size(); ++i) sum += left[i] * right[i];
  return sum;
}

}  // namespace

absl::StatusOr<double> MaxDeltaCosine(const LoraAdapter& delivered, const LoraAdapter& vector) {
  if (delivered.layers.size() != vector.layers.size()) {
    return absl::InvalidArgumentError(absl::StrCat("strip check: the adapter has ",
                                                   delivered.layers.size(), " layers, the vector ",
                                                   vector.layers.size()));
  }
  const int64_t r1 = delivered.spec.rank;
  const int64_t r2 = vector.spec.rank;
  double largest = 0.0;
  for (size_t l = 0; l < delivered.layers.size(); ++l) {
    for (Projection projection : kAllProjections) {
      const LoraMatrices& m1 = delivered.at(l, projection);
      const LoraMatrices& m2 = vector.at(l, projection);
      if (m1.empty() || m2.empty()) continue;
      if (m1.a.size() / r1 != m2.a.size() / r2 || m1.b.size() / r1 != m2.b.size() / r2) {
        return absl::InvalidArgumentError(
            absl::StrCat("strip check: ", std::string(ProjectionName(projection)), " of layer ", l,
                         " has another shape in the vector"));
      }
      const double norms = std::sqrt(InnerProduct(m1, r1, m1, r1) * InnerProduct(m2, r2, m2, r2));
      // A NaN would pass every bound below as "no direction".
      if (!std::isfinite(norms)) {
        return absl::InternalError(absl::StrCat("strip check: the delta of ",
                                                std::string(ProjectionName(projection)),
                                                " of layer ", l, " is not finite"));
      }
      if (norms == 0.0) continue;
      largest = std::max(largest, std::abs(InnerProduct(m1, r1, m2, r2)) / norms);
    }
  }
  return largest;
}

}  // namespace wardtune
