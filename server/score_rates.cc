#include "server/score_rates.h"

namespace wardtune {

double RateOf(const v1::CategoryScore& score) {
  return score.prompts() > 0 ? static_cast<double>(score.harmful()) / score.prompts() : 0;
}

Interval IntervalOf(const v1::CategoryScore& score) {
  return WilsonInterval(score.harmful(), score.prompts());
}

const v1::CategoryScore* FindScore(const v1::SafetyReport& report, const std::string& category) {
  for (const v1::CategoryScore& score : report.categories()) {
    if (score.category() == category) return &score;
  }
  return nullptr;
}

}  // namespace wardtune
