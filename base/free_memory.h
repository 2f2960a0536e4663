// How much memory this process may still take.
// Thread safety: re-entrant.
#ifndef WARDTUNE_BASE_FREE_MEMORY_H_
#define WARDTUNE_BASE_FREE_MEMORY_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace wardtune {

// Where the system tells of itself.
struct SystemFolders {
  std::string proc = "/proc";
  std::string control_groups = "/sys/fs/cgroup";
};

// Bytes: the least of what the machine has and what the process's control group and each group
// above it have left, of version 1 or 2. File pages that have not been used lately count as free:
// the kernel drops them when the group needs the room, and a model that was just read leaves as
// many as it is large. Gives back to the system what this process has freed.
// Errors: UNAVAILABLE where the system does not say.
absl::StatusOr<int64_t> FreeHostMemory(const SystemFolders& folders = {});

}  // namespace wardtune

#endif  // WARDTUNE_BASE_FREE_MEMORY_H_
