// BlobStore in a folder: `partial/<id>` and `blobs/<first two>/<sha256>`.
#ifndef WARDTUNE_STORAGE_FOLDER_BLOB_STORE_H_
#define WARDTUNE_STORAGE_FOLDER_BLOB_STORE_H_

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/file_system.h"
#include "storage/blob_store.h"

namespace wardtune {

class FolderBlobStore final : public BlobStore {
 public:
  // Creates the folder when it is missing. `files` and `clock` must outlive the store.
  // One process at a time; SqliteStore::Open guards the data folder.
  static absl::StatusOr<std::unique_ptr<FolderBlobStore>> Open(const std::string& folder,
                                                               FileSystem& files, Clock& clock);

  absl::StatusOr<std::unique_ptr<PartialBlob>> OpenPartial(const std::string& id,
                                                           int64_t offset) override;
  absl::StatusOr<std::string> ReadPartial(const std::string& id, int64_t offset,
                                          int64_t length) override;
  absl::StatusOr<BlobRef> CommitPartial(const std::string& id,
                                        const std::string& expected_sha256) override;
  absl::Status DiscardPartial(const std::string& id) override;
  absl::StatusOr<BlobRef> Put(std::string_view bytes) override;
  absl::StatusOr<int64_t> Size(const std::string& sha256) override;
  absl::StatusOr<std::string> ReadRange(const std::string& sha256, int64_t offset,
                                        int64_t length) override;
  absl::StatusOr<std::string> ReadAll(const std::string& sha256) override;
  absl::Status Verify(const std::string& sha256) override;
  void Keep(const std::string& sha256) override;
  void Retire(const std::string& sha256) override;
  absl::StatusOr<Collected> CollectGarbage(const std::set<std::string>& live_blobs,
                                           const std::set<std::string>& live_partials,
                                           absl::Duration grace) override;

 private:
  // When each name was first found without a reference, by Clock::Monotonic.
  using Orphans = std::map<std::string, absl::Duration>;

  FolderBlobStore(std::string folder, FileSystem& files, Clock& clock)
      : folder_(std::move(folder)), files_(files), clock_(clock) {}

  std::string PartialPath(const std::string& id) const;
  std::string BlobPath(const std::string& sha256) const;
  absl::StatusOr<BlobRef> DigestOf(const std::string& path);
  // Removes the orphans of one folder that are due; `orphans` is brought up to date.
  absl::StatusOr<int64_t> Sweep(const std::string& folder, const std::set<std::string>& live,
                                absl::Duration grace, Orphans& orphans)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string folder_;
  FileSystem& files_;
  Clock& clock_;

  // Held while a name is published or removed, so that a collection never removes what a commit
  // has just found to be there.
  absl::Mutex mutex_;
  Orphans orphan_blobs_ ABSL_GUARDED_BY(mutex_);
  Orphans orphan_partials_ ABSL_GUARDED_BY(mutex_);
  std::multiset<std::string> open_partials_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_FOLDER_BLOB_STORE_H_
