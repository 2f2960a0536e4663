// The most memory that this process has had in RAM.
// Thread safety: pure function.
#ifndef WARDTUNE_BENCH_TRAIN_PEAK_MEMORY_H_
#define WARDTUNE_BENCH_TRAIN_PEAK_MEMORY_H_

#include <sys/resource.h>

#include <cstdint>

namespace wardtune {

// VmHWM of /proc/self/status, in bytes.
inline int64_t PeakResidentBytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

}  // namespace wardtune

#endif  // WARDTUNE_BENCH_TRAIN_PEAK_MEMORY_H_
