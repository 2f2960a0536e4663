#include "worker/security/strip_check.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

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

// <D, B A> = sum over j of <row j of B^T D, row j of A>.
double InnerProduct(const MatrixView& d, const LoraMatrices& m, int64_t rank) {
  double sum = 0.0;
  std::vector<double> projected(static_cast<size_t>(d.cols));
  for (int64_t j = 0; j < rank; ++j) {
    std::fill(projected.begin(), projected.end(), 0.0);
    for (int64_t row = 0; row < d.rows; ++row) {
      const double factor = m.b[row * rank + j];
      const float* values = d.values.data() + row * d.cols;
      for (int64_t col = 0; col < d.cols; ++col) projected[col] += factor * values[col];
    }
    for (int64_t col = 0; col < d.cols; ++col) sum += projected[col] * m.a[j * d.cols + col];
  }
  return sum;
}

double SquaredNorm(const MatrixView& d) {
  double sum = 0.0;
  for (const float value : d.values) sum += static_cast<double>(value) * value;
  return sum;
}

std::string NameOf(Projection projection, size_t layer) {
  return absl::StrCat(std::string(ProjectionName(projection)), " of layer ", layer);
}

absl::Status LayersDiffer(size_t delivered, size_t vector) {
  return absl::InvalidArgumentError(absl::StrCat("strip check: what was trained has ", delivered,
                                                 " layers, the vector ", vector));
}

// |product| / norms. Errors: INTERNAL when it is none: a NaN would pass every bound as "no
// direction".
absl::StatusOr<double> Cosine(double product, double norms, Projection projection, size_t layer) {
  if (!std::isfinite(norms)) {
    return absl::InternalError(
        absl::StrCat("strip check: the delta of ", NameOf(projection, layer), " is not finite"));
  }
  return norms == 0.0 ? 0.0 : std::abs(product) / norms;
}

absl::Status ShapesDiffer(Projection projection, size_t layer) {
  return absl::InvalidArgumentError(
      absl::StrCat("strip check: ", NameOf(projection, layer), " has another shape in the vector"));
}

}  // namespace

absl::StatusOr<double> MaxDeltaCosine(const LoraAdapter& delivered, const LoraAdapter& vector) {
  if (delivered.layers.size() != vector.layers.size()) {
    return LayersDiffer(delivered.layers.size(), vector.layers.size());
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
        return ShapesDiffer(projection, l);
      }
      const double norms = std::sqrt(InnerProduct(m1, r1, m1, r1) * InnerProduct(m2, r2, m2, r2));
      WT_ASSIGN_OR_RETURN(const double cosine,
                          Cosine(InnerProduct(m1, r1, m2, r2), norms, projection, l));
      largest = std::max(largest, cosine);
    }
  }
  return largest;
}

absl::StatusOr<double> MaxDeltaCosine(const WeightDelta& delivered, const LoraAdapter& vector) {
  if (delivered.layers.size() != vector.layers.size()) {
    return LayersDiffer(delivered.layers.size(), vector.layers.size());
  }
  const int64_t rank = vector.spec.rank;
  double largest = 0.0;
  for (size_t l = 0; l < delivered.layers.size(); ++l) {
    for (const Projection projection : kAllProjections) {
      const MatrixView& d = delivered.layers[l][static_cast<int>(projection)];
      const LoraMatrices& m = vector.at(static_cast<int64_t>(l), projection);
      if (m.empty()) continue;
      if (static_cast<int64_t>(m.a.size()) != rank * d.cols ||
          static_cast<int64_t>(m.b.size()) != rank * d.rows) {
        return ShapesDiffer(projection, l);
      }
      const double norms = std::sqrt(SquaredNorm(d) * InnerProduct(m, rank, m, rank));
      WT_ASSIGN_OR_RETURN(const double cosine,
                          Cosine(InnerProduct(d, m, rank), norms, projection, l));
      largest = std::max(largest, cosine);
    }
  }
  return largest;
}

}  // namespace wardtune
