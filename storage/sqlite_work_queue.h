// Leases in SQLite.
#ifndef WARDTUNE_STORAGE_SQLITE_WORK_QUEUE_H_
#define WARDTUNE_STORAGE_SQLITE_WORK_QUEUE_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "storage/job_rows.h"
#include "storage/sqlite_context.h"

namespace wardtune {

class SqliteWorkQueue final : public WorkQueue {
 public:
  explicit SqliteWorkQueue(SqliteContext& context) : context_(context) {}

  absl::StatusOr<std::optional<LeaseRecord>> LeaseNext(const std::string& worker_id,
                                                       const std::vector<std::string>& base_models,
                                                       absl::Duration ttl) override;
  absl::StatusOr<LeaseRecord> GetLease(const std::string& job_id, int32_t attempt) override;
  absl::StatusOr<JobRecord> Heartbeat(const std::string& job_id, int32_t attempt,
                                      absl::Duration ttl, const HeartbeatReport& report) override;
  absl::StatusOr<BlobRef> RecordArtifact(const std::string& job_id, int32_t attempt,
                                         ArtifactKind kind, const BlobRef& blob,
                                         int64_t step) override;
  absl::StatusOr<CompletedJob> Complete(const std::string& job_id, int32_t attempt,
                                        const JobResult& result) override;
  absl::StatusOr<bool> EndedWith(const std::string& tenant, const std::string& job_id,
                                 int32_t attempt, const std::string& artifact_sha256) override;
  absl::StatusOr<JobRecord> Fail(const std::string& job_id, int32_t attempt,
                                 const JobFailure& failure) override;
  absl::StatusOr<std::vector<JobRecord>> ExpireLeases() override;
  absl::Status ExtendLeases(absl::Duration ttl) override;
  absl::StatusOr<QueueStats> GetQueueStats() override;

 private:
  void WorkerSeen(const std::string& worker_id);
  int64_t MonotonicMicros() const;
  // The moment at which a lease of `ttl` that begins now ends.
  absl::StatusOr<int64_t> LeaseEnd(absl::Duration ttl) const;
  absl::StatusOr<std::optional<LeaseRecord>> LeaseJob(Database& database, const std::string& job_id,
                                                      const std::string& worker_id,
                                                      int64_t expires);
  absl::Status StoreResult(Database& database, const JobRecord& job, const JobResult& result,
                           JobEnding& ending);
  // The failed or expired attempt's next state: another attempt while there are some left.
  absl::StatusOr<JobRecord> EndAttempt(Database& database, const JobRecord& job, bool retryable,
                                       const std::string& error_code,
                                       const std::string& error_message);

  SqliteContext& context_;

  // When each worker was last heard of. Kept in memory: polling must not cost a disk write.
  absl::Mutex mutex_;
  std::map<std::string, absl::Duration> workers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_SQLITE_WORK_QUEUE_H_
