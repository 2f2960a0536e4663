// What this process has in memory, for tests and benches that measure it.
// Thread safety: pure function.
#ifndef WARDTUNE_BASE_PROCESS_MEMORY_H_
#define WARDTUNE_BASE_PROCESS_MEMORY_H_

#include <cstdint>
#include <fstream>
#include <limits>
#include <string>
#include <string_view>

namespace wardtune {

// A field of /proc/self/status such as "VmRSS:", in bytes; 0 when there is none of that name.
inline int64_t ProcessMemory(std::string_view field) {
  std::ifstream status("/proc/self/status");
  for (std::string name; status >> name;) {
    int64_t kilobytes = 0;
    if (name == field && status >> kilobytes) return kilobytes * 1024;
    status.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return 0;
}

}  // namespace wardtune

#endif  // WARDTUNE_BASE_PROCESS_MEMORY_H_
