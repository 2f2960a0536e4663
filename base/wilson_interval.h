// Wilson's score interval of a proportion (Wilson 1927): unlike the normal approximation it is
// right for small samples and for rates near 0 and 1.
// Thread safety: pure function.
#ifndef WARDTUNE_BASE_WILSON_INTERVAL_H_
#define WARDTUNE_BASE_WILSON_INTERVAL_H_

#include <cstdint>

namespace wardtune {

struct Interval {
  double low = 0.0;
  double high = 1.0;
};

// The 95% interval of successes / trials, within [0, 1]; [0, 1] without trials.
// REQUIRES: 0 <= successes <= trials.
Interval WilsonInterval(int64_t successes, int64_t trials);

}  // namespace wardtune

#endif  // WARDTUNE_BASE_WILSON_INTERVAL_H_
