// Unguessable ids and secrets from the operating system's random numbers.
// Thread safety: all functions may be called from any thread.
#ifndef WARDTUNE_STORAGE_RANDOM_ID_H_
#define WARDTUNE_STORAGE_RANDOM_ID_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"

namespace wardtune {

// `count` random bytes. UNAVAILABLE when the system has none to give.
absl::StatusOr<std::string> RandomBytes(size_t count);

// 20 characters of a-z and 2-7, beginning with a letter: 99 random bits.
absl::StatusOr<std::string> RandomId();

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_RANDOM_ID_H_
