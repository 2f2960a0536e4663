// Files as a parameter, so that tests can make any write fail.
//
// Everything that must survive a crash goes through WriteFileAtomically or AppendDurably: when they
// return OK the bytes are on the disk (fsync of the file and of its folder).
// Thread safety: all methods may be called from any thread; two calls that write the same path
// race as they would on the operating system.
#ifndef WARDTUNE_BASE_FILE_SYSTEM_H_
#define WARDTUNE_BASE_FILE_SYSTEM_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace wardtune {

// A file being written front to back. Closing without Sync() promises nothing.
class WritableFile {
 public:
  virtual ~WritableFile() = default;
  // Errors: RESOURCE_EXHAUSTED when the disk is full, UNAVAILABLE for every other failed write.
  virtual absl::Status Append(std::string_view bytes) = 0;
  // Returns once the bytes are on the disk (fdatasync).
  virtual absl::Status Sync() = 0;
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;

  // Errors of all methods: NOT_FOUND when the path is missing, PERMISSION_DENIED,
  // RESOURCE_EXHAUSTED when the disk is full, UNAVAILABLE for every other I/O error.

  // The whole file. REQUIRES: it is small enough to hold in memory.
  virtual absl::StatusOr<std::string> ReadFile(const std::string& path) = 0;
  // Up to `length` bytes from `offset`; fewer at the end of the file, none past it.
  virtual absl::StatusOr<std::string> ReadRange(const std::string& path, int64_t offset,
                                                int64_t length) = 0;
  // Creates the file, or truncates it to `keep_bytes` and appends behind them.
  virtual absl::StatusOr<std::unique_ptr<WritableFile>> OpenForAppend(const std::string& path,
                                                                      int64_t keep_bytes) = 0;
  // Writes a temporary file beside `path`, syncs, renames and syncs the folder: a reader sees the
  // old content or the new, never half, also after power loss.
  virtual absl::Status WriteFileAtomically(const std::string& path, std::string_view bytes) = 0;
  // Renames within one file system and syncs the folder of `to`.
  virtual absl::Status Rename(const std::string& from, const std::string& to) = 0;
  virtual absl::Status Remove(const std::string& path) = 0;
  virtual absl::Status RemoveTree(const std::string& path) = 0;
  // Creates the folder and its missing parents; OK when it exists.
  virtual absl::Status CreateFolders(const std::string& path) = 0;
  virtual absl::StatusOr<int64_t> FileSize(const std::string& path) = 0;
  virtual bool Exists(const std::string& path) = 0;
  // Names (not paths) of the entries of a folder, sorted.
  virtual absl::StatusOr<std::vector<std::string>> List(const std::string& path) = 0;
};

// POSIX files.
class PosixFileSystem final : public FileSystem {
 public:
  absl::StatusOr<std::string> ReadFile(const std::string& path) override;
  absl::StatusOr<std::string> ReadRange(const std::string& path, int64_t offset,
                                        int64_t length) override;
  absl::StatusOr<std::unique_ptr<WritableFile>> OpenForAppend(const std::string& path,
                                                              int64_t keep_bytes) override;
  absl::Status WriteFileAtomically(const std::string& path, std::string_view bytes) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status Remove(const std::string& path) override;
  absl::Status RemoveTree(const std::string& path) override;
  absl::Status CreateFolders(const std::string& path) override;
  absl::StatusOr<int64_t> FileSize(const std::string& path) override;
  bool Exists(const std::string& path) override;
  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override;
};

}  // namespace wardtune

#endif  // WARDTUNE_BASE_FILE_SYSTEM_H_
