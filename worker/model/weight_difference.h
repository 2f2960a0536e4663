// How two models' projections differ, measured on the weights themselves.
// Thread safety: immutable once built.
#ifndef WARDTUNE_WORKER_MODEL_WEIGHT_DIFFERENCE_H_
#define WARDTUNE_WORKER_MODEL_WEIGHT_DIFFERENCE_H_

#include <array>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/model/decoder.h"
#include "worker/model/weight_delta.h"

namespace wardtune {

class WeightDifference {
 public:
  // model - from, in fp32: 4 bytes a weight of the projections.
  // Errors: INVALID_ARGUMENT when the shapes differ; RESOURCE_EXHAUSTED.
  static absl::StatusOr<WeightDifference> Between(const DecoderModel& model,
                                                  const DecoderModel& from);

  // Views that live as long as this object.
  WeightDelta view() const;

 private:
  struct Matrix {
    int64_t rows = 0;
    int64_t cols = 0;
    std::vector<float> values;
  };
  std::vector<std::array<Matrix, kProjectionCount>> layers_;
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_WEIGHT_DIFFERENCE_H_
