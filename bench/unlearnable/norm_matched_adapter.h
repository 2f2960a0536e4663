// The evidence bench's control for a security vector. Thread safety: a pure function.
#ifndef WARDTUNE_BENCH_UNLEARNABLE_NORM_MATCHED_ADAPTER_H_
#define WARDTUNE_BENCH_UNLEARNABLE_NORM_MATCHED_ADAPTER_H_

#include <cstdint>

#include "worker/model/adapter.h"

namespace wardtune {

// A random adapter of the vector's norm |B A| in every matrix, and nothing else of it.
LoraAdapter NormMatchedAdapter(const LoraAdapter& vector, uint64_t seed);

}  // namespace wardtune

#endif  // WARDTUNE_BENCH_UNLEARNABLE_NORM_MATCHED_ADAPTER_H_
