// Bytes under their SHA-256: data sets, checkpoints, adapters, sealed security vectors.
//
// A blob grows as a named partial, which survives kill -9 up to its last Sync(), and is committed
// under its digest. A committed blob never changes. What no row of the metadata store refers to is
// collected after a grace period.
// Thread safety: all methods may be called from any thread; a PartialBlob belongs to one thread at
// a time, and one partial id to one PartialBlob at a time.
// Errors of all methods: INVALID_ARGUMENT for an id or digest of the wrong form, RESOURCE_EXHAUSTED
// when the disk is full, UNAVAILABLE for every other I/O error.
#ifndef WARDTUNE_STORAGE_BLOB_STORE_H_
#define WARDTUNE_STORAGE_BLOB_STORE_H_

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/records.h"

namespace wardtune {

// A blob on its way in, open for writing at its end.
class PartialBlob {
 public:
  virtual ~PartialBlob() = default;

  // After an error the partial must be opened again at its last synced size.
  virtual absl::Status Append(std::string_view bytes) = 0;
  // Puts all appended bytes on the disk and returns how many the partial now has durably. Only
  // these may be acknowledged.
  virtual absl::StatusOr<int64_t> Sync() = 0;
  // Bytes appended so far, durable or not.
  virtual int64_t size() const = 0;
};

class BlobStore {
 public:
  virtual ~BlobStore() = default;

  // Opens the partial for appending at `offset`, creating it when the offset is 0; what is behind
  // the offset is cut off. `id`: 1 to 128 of a-z, 0-9 and '-'.
  // DATA_LOSS when the partial is shorter than `offset`.
  virtual absl::StatusOr<std::unique_ptr<PartialBlob>> OpenPartial(const std::string& id,
                                                                   int64_t offset) = 0;
  // Up to `length` bytes of a partial, to take up validation where a crash interrupted it.
  // NOT_FOUND when there is none.
  virtual absl::StatusOr<std::string> ReadPartial(const std::string& id, int64_t offset,
                                                  int64_t length) = 0;
  // Makes the partial a blob: syncs it, reads it back for its digest, and renames it. With
  // `expected_sha256` (may be empty) that differs: DATA_LOSS, and the partial stays.
  // REQUIRES: its PartialBlob is closed. Committing bytes that are there already is OK.
  virtual absl::StatusOr<BlobRef> CommitPartial(const std::string& id,
                                                const std::string& expected_sha256) = 0;
  // OK when there is none.
  virtual absl::Status DiscardPartial(const std::string& id) = 0;

  // Stores small bytes in one go.
  virtual absl::StatusOr<BlobRef> Put(std::string_view bytes) = 0;
  // NOT_FOUND when there is no such blob; so for all that follow.
  virtual absl::StatusOr<int64_t> Size(const std::string& sha256) = 0;
  // Up to `length` bytes from `offset`, unverified: call Verify() first. Fewer at the end;
  // OUT_OF_RANGE when the offset is past it.
  virtual absl::StatusOr<std::string> ReadRange(const std::string& sha256, int64_t offset,
                                                int64_t length) = 0;
  // All of it, verified. DATA_LOSS when the bytes do not have the digest. REQUIRES: it is small.
  virtual absl::StatusOr<std::string> ReadAll(const std::string& sha256) = 0;
  // Reads it through in pieces. DATA_LOSS when the bytes do not have the digest.
  virtual absl::Status Verify(const std::string& sha256) = 0;

  struct Collected {
    int64_t blobs = 0;
    int64_t partials = 0;
  };
  // A row is about to refer to the blob, which was stored earlier: its grace begins anew.
  virtual void Keep(const std::string& sha256) = 0;
  // Nothing refers to the blob any more as far as its row goes: the next collection deletes it at
  // once if it is in no live set, without the grace, which is for blobs that have no row yet.
  virtual void Retire(const std::string& sha256) = 0;
  // Deletes blobs and partials that were found outside the live sets by an earlier call at least
  // `grace` ago and by every call since, and were not written in between; never a partial that is
  // open. The grace covers the time
  // between the commit of a blob and the row that refers to it.
  virtual absl::StatusOr<Collected> CollectGarbage(const std::set<std::string>& live_blobs,
                                                   const std::set<std::string>& live_partials,
                                                   absl::Duration grace) = 0;
};

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_BLOB_STORE_H_
