#include "storage/process_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace wardtune {

absl::StatusOr<std::unique_ptr<ProcessLock>> ProcessLock::Acquire(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) {
    return absl::UnavailableError(absl::StrCat("cannot open the lock file ", path, ": ",
                                               std::generic_category().message(errno)));
  }
  std::unique_ptr<ProcessLock> lock(new ProcessLock(fd));
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " is locked: another server uses this data folder; stop it first"));
  }
  return lock;
}

ProcessLock::~ProcessLock() { ::close(fd_); }

}  // namespace wardtune
