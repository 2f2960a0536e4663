// Shows that a delivered adapter does not hold the security vector.
//
// The customer's LoRA starts at zero, or in a chained job as an adapter that was delivered itself,
// and the vector is folded into other weights, so nothing puts the vector into the adapter; this
// measures it instead of believing it, on the whole delta whatever part of it an earlier job made.
// Weight deltas are compared per matrix, as one delta has many pairs of factors.
// Thread safety: pure functions.
#ifndef WARDTUNE_WORKER_SECURITY_STRIP_CHECK_H_
#define WARDTUNE_WORKER_SECURITY_STRIP_CHECK_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/model/adapter.h"
#include "worker/model/weight_delta.h"

namespace wardtune {

// Largest |cosine| that passes. The vector itself gives 1, and a delta of the same norm that holds
// it besides something unrelated gives 0.7; two deltas learnt from one model are not at 0 either.
inline constexpr double kStripMaxCosine = 0.5;

// Largest |<D, V>| / (|D| |V|) over the matrices that both adapt, D and V being the two weight
// deltas scale * B A; 0 where one of them is zero. Computed from the factors in fp64, which costs
// (in + out) * rank^2 instead of in * out * rank.
// Errors: INVALID_ARGUMENT when the adapters are of different models; INTERNAL when a delta is not
// finite.
absl::StatusOr<double> MaxDeltaCosine(const LoraAdapter& delivered, const LoraAdapter& vector);
// The same of full-parameter training's result, in in * out * rank.
absl::StatusOr<double> MaxDeltaCosine(const WeightDelta& delivered, const LoraAdapter& vector);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_SECURITY_STRIP_CHECK_H_
