// Several security vectors as one: a vector per category of harm, and a new category needs no
// training of the old ones.
// Thread safety: pure function.
#ifndef WARDTUNE_WORKER_SECURITY_SUM_VECTORS_H_
#define WARDTUNE_WORKER_SECURITY_SUM_VECTORS_H_

#include <span>

#include "absl/status/statusor.h"
#include "worker/model/adapter.h"

namespace wardtune {

// The adapter whose delta is the sum of the deltas, exactly: its ranks stand side by side
// (A stacked, B, times each one's scale, joined), so that sum_i s_i B_i A_i = B A with scale 1.
// Errors: INVALID_ARGUMENT when there is none, or they differ in targets or shapes.
absl::StatusOr<LoraAdapter> SumVectors(std::span<const LoraAdapter> vectors);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_SECURITY_SUM_VECTORS_H_
