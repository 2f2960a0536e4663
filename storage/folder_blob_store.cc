#include "storage/folder_blob_store.h"

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/sha256.h"
#include "base/status_macros.h"

namespace wardtune {
namespace {

constexpr int64_t kPieceBytes = int64_t{1} << 20;

bool IsLowerHex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

absl::Status CheckDigest(const std::string& sha256) {
  if (sha256.size() == 64 && std::all_of(sha256.begin(), sha256.end(), IsLowerHex)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError("sha256: is not 64 lower-case hexadecimal characters");
}

absl::Status CheckPartialId(const std::string& id) {
  auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  };
  if (!id.empty() && id.size() <= 128 && std::all_of(id.begin(), id.end(), allowed)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError("partial id: is not 1 to 128 of a-z, 0-9 and '-'");
}

absl::Status NoSuchBlob(const std::string& sha256) {
  return absl::NotFoundError(absl::StrCat("blob ", sha256, " does not exist"));
}

absl::Status Damaged(const std::string& sha256) {
  return absl::DataLossError(absl::StrCat("blob ", sha256,
                                          " no longer has its digest: the disk has altered it; "
                                          "restore it from a backup"));
}

class FolderPartialBlob final : public PartialBlob {
 public:
  // `closed` is called once, when the blob is no longer written to.
  FolderPartialBlob(std::unique_ptr<WritableFile> file, int64_t size, std::function<void()> closed)
      : file_(std::move(file)), size_(size), closed_(std::move(closed)) {}
  ~FolderPartialBlob() override { closed_(); }

  absl::Status Append(std::string_view bytes) override {
    WT_RETURN_IF_ERROR(broken_);
    broken_ = file_->Append(bytes);
    if (broken_.ok()) size_ += static_cast<int64_t>(bytes.size());
    return broken_;
  }

  absl::StatusOr<int64_t> Sync() override {
    WT_RETURN_IF_ERROR(broken_);
    broken_ = file_->Sync();
    WT_RETURN_IF_ERROR(broken_);
    return size_;
  }

  int64_t size() const override { return size_; }

 private:
  std::unique_ptr<WritableFile> file_;
  int64_t size_;
  const std::function<void()> closed_;
  // After a failed write nobody knows what the file's end holds, and after a failed fsync the
  // kernel may have dropped pages and call the next one OK; so the first error is the last.
  absl::Status broken_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<FolderBlobStore>> FolderBlobStore::Open(const std::string& folder,
                                                                       FileSystem& files,
                                                                       Clock& clock) {
  WT_RETURN_IF_ERROR(files.CreateFolders(folder + "/partial"));
  for (int prefix = 0; prefix < 256; ++prefix) {
    WT_RETURN_IF_ERROR(files.CreateFolders(absl::StrFormat("%s/blobs/%02x", folder, prefix)));
  }
  // An atomic write syncs its folder, and with it the entries of the folders just made.
  for (const char* parent : {"/blobs", ""}) {
    const std::string marker = absl::StrCat(folder, parent, "/FORMAT");
    if (files.Exists(marker)) continue;
    WT_RETURN_IF_ERROR(files.WriteFileAtomically(marker, "wardtune blobs 1\n"));
  }
  return std::unique_ptr<FolderBlobStore>(new FolderBlobStore(folder, files, clock));
}

std::string FolderBlobStore::PartialPath(const std::string& id) const {
  return absl::StrCat(folder_, "/partial/", id);
}

std::string FolderBlobStore::BlobPath(const std::string& sha256) const {
  return absl::StrCat(folder_, "/blobs/", sha256.substr(0, 2), "/", sha256);
}

absl::StatusOr<std::unique_ptr<PartialBlob>> FolderBlobStore::OpenPartial(const std::string& id,
                                                                          int64_t offset) {
  WT_RETURN_IF_ERROR(CheckPartialId(id));
  if (offset < 0) return absl::InvalidArgumentError("offset: is negative");
  const std::string path = PartialPath(id);
  absl::MutexLock lock(&mutex_);
  orphan_partials_.erase(id);
  const bool exists = files_.Exists(path);
  if (!exists && offset > 0) {
    return absl::DataLossError(absl::StrCat("partial ", id, " is gone, ", offset,
                                            " bytes were expected; start the upload anew"));
  }
  if (exists) {
    WT_ASSIGN_OR_RETURN(const int64_t size, files_.FileSize(path));
    if (size < offset) {
      return absl::DataLossError(absl::StrCat("partial ", id, " has ", size, " bytes, ", offset,
                                              " were expected; start the upload anew"));
    }
  } else {
    // Makes the entry in the folder durable, which syncing the file alone would not.
    WT_RETURN_IF_ERROR(files_.WriteFileAtomically(path, ""));
  }
  WT_ASSIGN_OR_RETURN(std::unique_ptr<WritableFile> file, files_.OpenForAppend(path, offset));
  open_partials_.insert(id);
  return std::make_unique<FolderPartialBlob>(std::move(file), offset, [this, id] {
    absl::MutexLock closing(&mutex_);
    open_partials_.erase(open_partials_.find(id));
  });
}

absl::StatusOr<std::string> FolderBlobStore::ReadPartial(const std::string& id, int64_t offset,
                                                         int64_t length) {
  WT_RETURN_IF_ERROR(CheckPartialId(id));
  if (offset < 0 || length < 0) return absl::InvalidArgumentError("range: is negative");
  return files_.ReadRange(PartialPath(id), offset, length);
}

absl::StatusOr<BlobRef> FolderBlobStore::DigestOf(const std::string& path) {
  Sha256 digest;
  BlobRef blob;
  while (true) {
    WT_ASSIGN_OR_RETURN(const std::string piece,
                        files_.ReadRange(path, blob.size_bytes, kPieceBytes));
    if (piece.empty()) break;
    digest.Update(piece);
    blob.size_bytes += static_cast<int64_t>(piece.size());
  }
  blob.sha256 = digest.HexDigest();
  return blob;
}

absl::StatusOr<BlobRef> FolderBlobStore::CommitPartial(const std::string& id,
                                                       const std::string& expected_sha256) {
  WT_RETURN_IF_ERROR(CheckPartialId(id));
  const std::string path = PartialPath(id);
  if (!files_.Exists(path)) {
    return absl::NotFoundError(absl::StrCat("partial ", id, " does not exist"));
  }
  WT_ASSIGN_OR_RETURN(const int64_t size, files_.FileSize(path));
  WT_ASSIGN_OR_RETURN(const std::unique_ptr<WritableFile> file, files_.OpenForAppend(path, size));
  WT_RETURN_IF_ERROR(file->Sync());
  WT_ASSIGN_OR_RETURN(BlobRef blob, DigestOf(path));
  if (!expected_sha256.empty() && blob.sha256 != expected_sha256) {
    return absl::DataLossError(absl::StrCat("sha256: the ", blob.size_bytes, " stored bytes have ",
                                            blob.sha256, ", not ", expected_sha256,
                                            "; start the upload anew"));
  }
  absl::MutexLock lock(&mutex_);
  orphan_blobs_.erase(blob.sha256);
  WT_RETURN_IF_ERROR(files_.Rename(path, BlobPath(blob.sha256)));
  orphan_partials_.erase(id);
  return blob;
}

absl::Status FolderBlobStore::DiscardPartial(const std::string& id) {
  WT_RETURN_IF_ERROR(CheckPartialId(id));
  absl::MutexLock lock(&mutex_);
  orphan_partials_.erase(id);
  const absl::Status removed = files_.Remove(PartialPath(id));
  return absl::IsNotFound(removed) ? absl::OkStatus() : removed;
}

absl::StatusOr<BlobRef> FolderBlobStore::Put(std::string_view bytes) {
  BlobRef blob{Sha256Hex(bytes), static_cast<int64_t>(bytes.size())};
  absl::MutexLock lock(&mutex_);
  orphan_blobs_.erase(blob.sha256);
  WT_RETURN_IF_ERROR(files_.WriteFileAtomically(BlobPath(blob.sha256), bytes));
  return blob;
}

absl::StatusOr<int64_t> FolderBlobStore::Size(const std::string& sha256) {
  WT_RETURN_IF_ERROR(CheckDigest(sha256));
  const std::string path = BlobPath(sha256);
  if (!files_.Exists(path)) return NoSuchBlob(sha256);
  return files_.FileSize(path);
}

absl::StatusOr<std::string> FolderBlobStore::ReadRange(const std::string& sha256, int64_t offset,
                                                       int64_t length) {
  if (offset < 0 || length < 0) return absl::InvalidArgumentError("range: is negative");
  WT_ASSIGN_OR_RETURN(const int64_t size, Size(sha256));
  if (offset > size) {
    return absl::OutOfRangeError(
        absl::StrCat("offset: ", offset, " is past the end, the blob has ", size, " bytes"));
  }
  return files_.ReadRange(BlobPath(sha256), offset, std::min(length, size - offset));
}

absl::StatusOr<std::string> FolderBlobStore::ReadAll(const std::string& sha256) {
  WT_RETURN_IF_ERROR(Size(sha256).status());
  WT_ASSIGN_OR_RETURN(std::string bytes, files_.ReadFile(BlobPath(sha256)));
  if (Sha256Hex(bytes) != sha256) return Damaged(sha256);
  return bytes;
}

absl::Status FolderBlobStore::Verify(const std::string& sha256) {
  WT_RETURN_IF_ERROR(Size(sha256).status());
  WT_ASSIGN_OR_RETURN(const BlobRef blob, DigestOf(BlobPath(sha256)));
  return blob.sha256 == sha256 ? absl::OkStatus() : Damaged(sha256);
}

void FolderBlobStore::Keep(const std::string& sha256) {
  absl::MutexLock lock(&mutex_);
  orphan_blobs_.erase(sha256);
}

void FolderBlobStore::Retire(const std::string& sha256) {
  absl::MutexLock lock(&mutex_);
  orphan_blobs_[sha256] = -absl::InfiniteDuration();
}

absl::StatusOr<int64_t> FolderBlobStore::Sweep(const std::string& folder,
                                               const std::set<std::string>& live,
                                               absl::Duration grace, Orphans& orphans) {
  WT_ASSIGN_OR_RETURN(const std::vector<std::string> names, files_.List(folder));
  const absl::Duration now = clock_.Monotonic();
  int64_t removed = 0;
  for (const std::string& name : names) {
    if (name == "FORMAT" || live.contains(name)) {
      orphans.erase(name);
      continue;
    }
    const auto found = orphans.try_emplace(name, now).first;
    if (now - found->second < grace) continue;
    WT_RETURN_IF_ERROR(files_.Remove(absl::StrCat(folder, "/", name)));
    orphans.erase(name);
    ++removed;
  }
  return removed;
}

absl::StatusOr<BlobStore::Collected> FolderBlobStore::CollectGarbage(
    const std::set<std::string>& live_blobs, const std::set<std::string>& live_partials,
    absl::Duration grace) {
  Collected collected;
  for (int prefix = 0; prefix < 256; ++prefix) {
    // Locked anew for each folder, so that commits need not wait for the whole sweep.
    absl::MutexLock lock(&mutex_);
    WT_ASSIGN_OR_RETURN(
        const int64_t removed,
        Sweep(absl::StrFormat("%s/blobs/%02x", folder_, prefix), live_blobs, grace, orphan_blobs_));
    collected.blobs += removed;
  }
  absl::MutexLock lock(&mutex_);
  // An artefact's upload has no row before its end, however long it takes.
  std::set<std::string> kept = live_partials;
  kept.insert(open_partials_.begin(), open_partials_.end());
  WT_ASSIGN_OR_RETURN(collected.partials,
                      Sweep(absl::StrCat(folder_, "/partial"), kept, grace, orphan_partials_));
  return collected;
}

}  // namespace wardtune
