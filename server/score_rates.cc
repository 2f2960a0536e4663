#include "server/score_rates.h"

#include <algorithm>
#include <cmath>

namespace wardtune {

double RateOf(const v1::CategoryScore& score) {
  return score.prompts() > 0 ? static_cast<double>(score.harmful()) / score.prompts() : 0;
}

RateInterval IntervalOf(const v1::CategoryScore& score) {
  constexpr double z = 1.959963984540054;
  const double n = score.prompts();
  if (n < 1) return {};
  const double p = RateOf(score);
  const double centre = p + z * z / (2 * n);
  const double spread = z * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n));
  const double scale = 1 + z * z / n;
  return {std::max(0.0, (centre - spread) / scale), std::min(1.0, (centre + spread) / scale)};
}

const v1::CategoryScore* FindScore(const v1::SafetyReport& report, const std::string& category) {
  for (const v1::CategoryScore& score : report.categories()) {
    if (score.category() == category) return &score;
  }
  return nullptr;
}

}  // namespace wardtune
