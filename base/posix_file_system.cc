#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file_system.h"
#include "base/status_macros.h"

namespace wardtune {
namespace {

namespace fs = std::filesystem;

absl::Status ErrnoStatus(int error, std::string_view what, const std::string& path) {
  const std::string message =
      absl::StrCat(std::string(what), " ", path, ": ", std::generic_category().message(error));
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return absl::NotFoundError(message);
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(message);
    case ENOSPC:
    case EDQUOT:
      return absl::ResourceExhaustedError(message);
    default:
      return absl::UnavailableError(message);
  }
}

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&&) = delete;
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

 private:
  int fd_;
};

absl::Status WriteAll(int fd, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, "cannot write", path);
    }
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status SyncFolderOf(const std::string& path) {
  const std::string folder = fs::path(path).parent_path().string();
  FileDescriptor fd(
      ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, "cannot open folder", folder);
  if (::fsync(fd.get()) != 0) return ErrnoStatus(errno, "cannot sync folder", folder);
  return absl::OkStatus();
}

class PosixWritableFile final : public WritableFile {
 public:
  PosixWritableFile(FileDescriptor fd, std::string path)
      : fd_(std::move(fd)), path_(std::move(path)) {}

  absl::Status Append(std::string_view bytes) override { return WriteAll(fd_.get(), bytes, path_); }
  absl::Status Sync() override {
    if (::fdatasync(fd_.get()) != 0) return ErrnoStatus(errno, "cannot sync", path_);
    return absl::OkStatus();
  }

 private:
  FileDescriptor fd_;
  std::string path_;
};

}  // namespace

absl::StatusOr<std::string> PosixFileSystem::ReadFile(const std::string& path) {
  WT_ASSIGN_OR_RETURN(const int64_t size, FileSize(path));
  return ReadRange(path, 0, size);
}

absl::StatusOr<std::string> PosixFileSystem::ReadRange(const std::string& path, int64_t offset,
                                                       int64_t length) {
  FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, "cannot open", path);
  std::string bytes(static_cast<size_t>(length), '\0');
  size_t filled = 0;
  while (filled < bytes.size()) {
    const ssize_t got = ::pread(fd.get(), bytes.data() + filled, bytes.size() - filled,
                                offset + static_cast<int64_t>(filled));
    if (got < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, "cannot read", path);
    }
    if (got == 0) break;
    filled += static_cast<size_t>(got);
  }
  bytes.resize(filled);
  return bytes;
}

absl::StatusOr<std::unique_ptr<WritableFile>> PosixFileSystem::OpenForAppend(
    const std::string& path, int64_t keep_bytes) {
  FileDescriptor fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  if (!fd.valid()) return ErrnoStatus(errno, "cannot create", path);
  if (::ftruncate(fd.get(), keep_bytes) != 0) return ErrnoStatus(errno, "cannot truncate", path);
  if (::lseek(fd.get(), 0, SEEK_END) < 0) return ErrnoStatus(errno, "cannot seek in", path);
  return std::make_unique<PosixWritableFile>(std::move(fd), path);
}

absl::Status PosixFileSystem::WriteFileAtomically(const std::string& path, std::string_view bytes) {
  static std::atomic<uint64_t> sequence{0};
  const std::string temporary = absl::StrCat(path, ".tmp.", ::getpid(), ".", sequence.fetch_add(1));
  absl::Status status = [&]() -> absl::Status {
    FileDescriptor fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!fd.valid()) return ErrnoStatus(errno, "cannot create", temporary);
    WT_RETURN_IF_ERROR(WriteAll(fd.get(), bytes, temporary));
    if (::fsync(fd.get()) != 0) return ErrnoStatus(errno, "cannot sync", temporary);
    return absl::OkStatus();
  }();
  if (status.ok()) status = Rename(temporary, path);
  if (!status.ok()) ::unlink(temporary.c_str());
  return status;
}

absl::Status PosixFileSystem::Rename(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return ErrnoStatus(errno, "cannot rename", from);
  return SyncFolderOf(to);
}

absl::Status PosixFileSystem::Remove(const std::string& path) {
  if (::unlink(path.c_str()) != 0) return ErrnoStatus(errno, "cannot remove", path);
  return absl::OkStatus();
}

absl::Status PosixFileSystem::RemoveTree(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) return ErrnoStatus(error.value(), "cannot remove", path);
  return absl::OkStatus();
}

absl::Status PosixFileSystem::CreateFolders(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) return ErrnoStatus(error.value(), "cannot create folder", path);
  return absl::OkStatus();
}

absl::StatusOr<int64_t> PosixFileSystem::FileSize(const std::string& path) {
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) return ErrnoStatus(errno, "cannot look at", path);
  return static_cast<int64_t>(info.st_size);
}

bool PosixFileSystem::Exists(const std::string& path) {
  std::error_code error;
  return fs::exists(path, error);
}

absl::StatusOr<std::vector<std::string>> PosixFileSystem::List(const std::string& path) {
  std::error_code error;
  std::vector<std::string> names;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  if (error) return ErrnoStatus(error.value(), "cannot list", path);
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace wardtune
