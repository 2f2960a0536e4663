// The status of a computation that ran out of memory, told apart from other exhausted resources.
// Thread safety: pure functions.
#ifndef WARDTUNE_WORKER_MODEL_OUT_OF_MEMORY_H_
#define WARDTUNE_WORKER_MODEL_OUT_OF_MEMORY_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/cord.h"

namespace wardtune {

inline constexpr const char* kOutOfMemoryUrl = "wardtune/out_of_memory";

// RESOURCE_EXHAUSTED that IsOutOfMemory() recognises.
inline absl::Status OutOfMemoryError(const std::string& message) {
  absl::Status status = absl::ResourceExhaustedError(message);
  status.SetPayload(kOutOfMemoryUrl, absl::Cord("1"));
  return status;
}

inline bool IsOutOfMemory(const absl::Status& status) {
  return status.GetPayload(kOutOfMemoryUrl).has_value();
}

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_OUT_OF_MEMORY_H_
