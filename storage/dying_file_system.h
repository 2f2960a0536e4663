// A file system that fails from its Nth change on, for tests only: a disk that dies or fills up.
#ifndef WARDTUNE_STORAGE_DYING_FILE_SYSTEM_H_
#define WARDTUNE_STORAGE_DYING_FILE_SYSTEM_H_

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file_system.h"
#include "base/status_macros.h"

namespace wardtune::testing {

// Thread safety: one thread at a time.
class DyingFileSystem final : public FileSystem {
 public:
  // `changes` more changes succeed; each Append, Sync, creation, rename and removal is one.
  void DieAfter(int changes) { left_ = changes; }
  void Heal() { left_ = kHealthy; }
  // Changes asked for that failed.
  int failures() const { return failures_; }

  absl::StatusOr<std::string> ReadFile(const std::string& path) override {
    return real_.ReadFile(path);
  }
  absl::StatusOr<std::string> ReadRange(const std::string& path, int64_t offset,
                                        int64_t length) override {
    return real_.ReadRange(path, offset, length);
  }
  absl::StatusOr<std::unique_ptr<WritableFile>> OpenForAppend(const std::string& path,
                                                              int64_t keep_bytes) override {
    WT_RETURN_IF_ERROR(Change());
    WT_ASSIGN_OR_RETURN(auto file, real_.OpenForAppend(path, keep_bytes));
    return std::make_unique<DyingFile>(*this, std::move(file));
  }
  absl::Status WriteFileAtomically(const std::string& path, std::string_view bytes) override {
    WT_RETURN_IF_ERROR(Change());
    return real_.WriteFileAtomically(path, bytes);
  }
  absl::Status Rename(const std::string& from, const std::string& to) override {
    WT_RETURN_IF_ERROR(Change());
    return real_.Rename(from, to);
  }
  absl::Status Remove(const std::string& path) override {
    WT_RETURN_IF_ERROR(Change());
    return real_.Remove(path);
  }
  absl::Status RemoveTree(const std::string& path) override { return real_.RemoveTree(path); }
  absl::Status CreateFolders(const std::string& path) override { return real_.CreateFolders(path); }
  absl::StatusOr<int64_t> FileSize(const std::string& path) override {
    return real_.FileSize(path);
  }
  bool Exists(const std::string& path) override { return real_.Exists(path); }
  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override {
    return real_.List(path);
  }

 private:
  static constexpr int kHealthy = -1;

  class DyingFile final : public WritableFile {
   public:
    DyingFile(DyingFileSystem& files, std::unique_ptr<WritableFile> real)
        : files_(files), real_(std::move(real)) {}
    // The failing write leaves half of its bytes, as a full disk does.
    absl::Status Append(std::string_view bytes) override {
      const absl::Status allowed = files_.Change();
      if (allowed.ok()) return real_->Append(bytes);
      real_->Append(bytes.substr(0, bytes.size() / 2)).IgnoreError();
      return allowed;
    }
    absl::Status Sync() override {
      WT_RETURN_IF_ERROR(files_.Change());
      return real_->Sync();
    }

   private:
    DyingFileSystem& files_;
    std::unique_ptr<WritableFile> real_;
  };

  absl::Status Change() {
    if (left_ == 0) {
      ++failures_;
      return absl::ResourceExhaustedError("injected: the disk is full");
    }
    if (left_ > 0) --left_;
    return absl::OkStatus();
  }

  PosixFileSystem real_;
  int left_ = kHealthy;
  int failures_ = 0;
};

}  // namespace wardtune::testing

#endif  // WARDTUNE_STORAGE_DYING_FILE_SYSTEM_H_
