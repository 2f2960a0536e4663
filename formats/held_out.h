// How many rows of a data set are held out for validation; the server's estimate and the worker's
// training count alike.
// Thread safety: a pure function.
#ifndef WARDTUNE_FORMATS_HELD_OUT_H_
#define WARDTUNE_FORMATS_HELD_OUT_H_

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace wardtune {

// fraction * rows, rounded, at least one and never all; 0 for a fraction of 0 or a single row.
inline int64_t HeldOutRows(int64_t rows, double fraction) {
  if (fraction <= 0.0 || rows < 2) return 0;
  const int64_t wanted = std::llround(static_cast<double>(rows) * fraction);
  return std::clamp<int64_t>(wanted, 1, rows - 1);
}

}  // namespace wardtune

#endif  // WARDTUNE_FORMATS_HELD_OUT_H_
