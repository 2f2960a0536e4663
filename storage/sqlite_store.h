// MetadataStore in one SQLite file: WAL, synchronous=FULL, writes of concurrent callers grouped
// into one commit.
//
// Opening migrates an older schema, checks the file's integrity and takes a lock, so that a second
// server on the same file is refused.
// Thread safety: all methods may be called from any thread.
#ifndef WARDTUNE_STORAGE_SQLITE_STORE_H_
#define WARDTUNE_STORAGE_SQLITE_STORE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/file_system.h"
#include "storage/metadata_store.h"

namespace wardtune {

struct SqliteStoreOptions {
  // The database file; its folder must exist. SQLite puts -wal and -shm beside it.
  std::string path;
  int32_t default_max_active_jobs = 10;
  int64_t default_max_dataset_bytes = int64_t{10} << 30;
  // Of one tenant, in any state: also an empty or rejected one costs a row and a report.
  int64_t max_datasets = 10'000;
  // Of one tenant; the resolved ones do not count.
  int32_t max_open_reports = 200;
  // Attempts of a job that may end one after the other without a checkpoint that moves on; then it
  // fails with kMaxAttemptsExceeded.
  int32_t max_attempts = 3;
  // How long an audit lets jobs pass that were created after it.
  absl::Duration audit_patience = absl::Hours(1);
  absl::Duration worker_alive_for = absl::Seconds(60);
  // Connections for reading, at least 1.
  int readers = 2;
  // Identifies this start of the machine; empty: /proc/sys/kernel/random/boot_id. Leases of another
  // boot have ended, because monotonic time does not compare across boots.
  std::string boot_id;
  // Called after each commit that changed a job, with no lock held, on the caller's thread. Must be
  // quick. Wakes watchers and waiting workers.
  std::function<void(const std::string& job_id, JobState state)> on_job_change;
};

class SqliteStore : public MetadataStore {
 public:
  // `clock` and `files` must outlive the store.
  // Errors: FAILED_PRECONDITION when the schema is newer than this program or another process has
  // the file open; DATA_LOSS when the file is damaged. Each names the file and what to do.
  static absl::StatusOr<std::unique_ptr<SqliteStore>> Open(SqliteStoreOptions options, Clock& clock,
                                                           FileSystem& files);
};

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_SQLITE_STORE_H_
