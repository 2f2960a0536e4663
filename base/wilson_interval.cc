#include "base/wilson_interval.h"

#include <algorithm>
#include <cmath>

namespace wardtune {

Interval WilsonInterval(int64_t successes, int64_t trials) {
  if (trials <= 0) return {};
  constexpr double z = 1.959963984540054;  // 97.5% quantile of the normal distribution
  const double n = static_cast<double>(trials);
  const double p = static_cast<double>(successes) / n;
  const double centre = p + z * z / (2 * n);
  const double half = z * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n));
  const double scale = 1 + z * z / n;
  // At 0 and n the bounds are exact; rounding must not move them.
  return {successes == 0 ? 0.0 : std::max(0.0, (centre - half) / scale),
          successes == trials ? 1.0 : std::min(1.0, (centre + half) / scale)};
}

}  // namespace wardtune
