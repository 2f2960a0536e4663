// What full-parameter training added to each projection's weights.
// Thread safety: plain data.
#ifndef WARDTUNE_WORKER_MODEL_WEIGHT_DELTA_H_
#define WARDTUNE_WORKER_MODEL_WEIGHT_DELTA_H_

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "worker/model/adapter.h"

namespace wardtune {

// A row-major matrix that somebody else owns.
struct MatrixView {
  int64_t rows = 0;
  int64_t cols = 0;
  std::span<const float> values;
};

struct WeightDelta {
  // layers[l][static_cast<int>(projection)], [out, in]
  std::vector<std::array<MatrixView, kProjectionCount>> layers;
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_WEIGHT_DELTA_H_
