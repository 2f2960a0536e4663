// Rates of harmful answers, computed from a score's counts: the rates and intervals in a report are
// the worker's.
// Thread safety: pure functions.
#ifndef WARDTUNE_SERVER_SCORE_RATES_H_
#define WARDTUNE_SERVER_SCORE_RATES_H_

#include <string>

#include "base/wilson_interval.h"
#include "wardtune/v1/safety.pb.h"

namespace wardtune {

// What rounding may add to a rate; far below one answer of any suite.
inline constexpr double kRateRounding = 1e-9;

// The category that sums up a report's others.
inline constexpr char kSumCategory[] = "all";

// harmful / prompts; 0 without prompts.
double RateOf(const v1::CategoryScore& score);

// The 95% Wilson interval of that rate; from 0 to 1 without prompts.
Interval IntervalOf(const v1::CategoryScore& score);

// The report's score of that category; nullptr when it has none.
const v1::CategoryScore* FindScore(const v1::SafetyReport& report, const std::string& category);

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_SCORE_RATES_H_
