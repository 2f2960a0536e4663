// Keeps a second process away from a file for as long as the object lives.
#ifndef WARDTUNE_STORAGE_PROCESS_LOCK_H_
#define WARDTUNE_STORAGE_PROCESS_LOCK_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace wardtune {

class ProcessLock {
 public:
  // Locks `path`, creating it. The kernel frees the lock when the process ends, also by kill -9.
  // Errors: FAILED_PRECONDITION when another ProcessLock holds it, UNAVAILABLE for I/O errors.
  static absl::StatusOr<std::unique_ptr<ProcessLock>> Acquire(const std::string& path);
  ~ProcessLock();
  ProcessLock(const ProcessLock&) = delete;
  ProcessLock& operator=(const ProcessLock&) = delete;

 private:
  explicit ProcessLock(int fd) : fd_(fd) {}
  const int fd_;
};

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_PROCESS_LOCK_H_
