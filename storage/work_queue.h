// Leases and results of work, as the workers and the reaper see them. Thread safety and errors: as
// metadata_store.h says.
#ifndef WARDTUNE_STORAGE_WORK_QUEUE_H_
#define WARDTUNE_STORAGE_WORK_QUEUE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/records.h"

namespace wardtune {

struct HeartbeatReport {
  int32_t phase = 0;
  std::string progress;       // Bytes; empty: unchanged.
  std::string safety_before;  // Bytes; empty: unchanged.
  RowScanRecord row_scan;     // The first one of a job stays; here and below.
};

// Of an audit.
struct AuditScore {
  std::string report_base;  // Bytes.
  std::string report;       // Bytes.
  std::string suite_sha256;
  std::string judge_sha256;
  std::string sampling_sha256;
  struct Verdict {
    bool drifted = false;
    std::string bytes;  // AdapterAuditRecord.verdict
  };
  // Compares the score with the one at delivery, by the policy in force, within the transaction
  // that ends the audit. Must be quick and must not call the store.
  std::function<Verdict(const SafetyPolicyRecord&, const AdapterRecord& delivered)> judge;
};

struct JobResult {
  // Adapter or sealed vector that this attempt uploaded; of an audit, which uploads nothing, the
  // digest of the result itself.
  std::string artifact_sha256;
  std::string progress;  // Bytes.
  // Of a fine-tuning job, bytes.
  std::string safety_before;
  std::string safety_start;
  std::string safety_after;
  std::string proof;
  std::string checkpoint_scores;
  RowScanRecord row_scan;
  // Judges the scores by the policy in force, within the transaction that ends the job. Must be
  // quick and must not call the store.
  std::function<GateRecord(const SafetyPolicyRecord&)> judge;
  // Of a security vector.
  std::string plain_sha256;
  std::string card;  // Bytes.
  std::vector<std::string> categories;
  std::string parts;  // Bytes.
  AuditScore audit;
};

struct CompletedJob {
  JobRecord job;
  bool repeated = false;  // An earlier call ended the job so: nothing was changed.
};

struct JobFailure {
  std::string error_code;
  std::string error_message;
  bool retryable = false;
  bool cancelled = false;
  RowScanRecord row_scan;
};

struct QueueStats {
  std::map<JobState, int64_t> jobs;  // Every state, of all kinds.
  int64_t running_audits = 0;        // Of the running ones.
  absl::Duration oldest_queued;      // Of the oldest queued job but audits; 0 when none waits.
  int64_t alive_workers = 0;         // Heard of within Options::worker_alive_for.
};

// Every method that names an attempt answers FAILED_PRECONDITION with kReasonLeaseLost, and changes
// nothing, when the attempt is not the current one, its lease was given up, or there is no such
// job.
class WorkQueue {
 public:
  virtual ~WorkQueue() = default;

  // Leases the oldest queued job of one of the base models for `ttl`; nullopt when there is none.
  // An audit comes behind every other job that was created within Options::audit_patience of it.
  virtual absl::StatusOr<std::optional<LeaseRecord>> LeaseNext(
      const std::string& worker_id, const std::vector<std::string>& base_models,
      absl::Duration ttl) = 0;
  // The lease, its inputs as of now but for the sealed vector, which stays as it was when the lease
  // began. Extends nothing.
  virtual absl::StatusOr<LeaseRecord> GetLease(const std::string& job_id, int32_t attempt) = 0;
  // Extends the lease by `ttl` from now and stores what is reported. The returned job's state is
  // CANCELLING when the worker must stop.
  virtual absl::StatusOr<JobRecord> Heartbeat(const std::string& job_id, int32_t attempt,
                                              absl::Duration ttl,
                                              const HeartbeatReport& report) = 0;
  // Notes an artefact whose blob is committed. A checkpoint replaces the one before and must not
  // hold fewer steps (`step`) than another of this attempt; an attempt that could not use the
  // checkpoint it found starts anew, so it may hold fewer than that one. Returns the checkpoint
  // that was replaced by other bytes, empty when there was none; another row may refer to it.
  virtual absl::StatusOr<BlobRef> RecordArtifact(const std::string& job_id, int32_t attempt,
                                                 ArtifactKind kind, const BlobRef& blob,
                                                 int64_t step) = 0;
  // Ends the job: SUCCEEDED with its adapter, evaluated vector or score, or CANCELLED without when
  // a cancel was answered first. A repeat by the same attempt with the same artefact is OK.
  // INVALID_ARGUMENT when the attempt has not uploaded the artefact, or the result of a fine-tuning
  // job or an audit has no judge.
  virtual absl::StatusOr<CompletedJob> Complete(const std::string& job_id, int32_t attempt,
                                                const JobResult& result) = 0;
  // True when the tenant's job SUCCEEDED by this attempt with this very artefact: its Complete()
  // was answered, and the answer may have been lost. Changes nothing.
  virtual absl::StatusOr<bool> EndedWith(const std::string& tenant, const std::string& job_id,
                                         int32_t attempt, const std::string& artifact_sha256) = 0;
  // Ends the attempt: QUEUED again when retryable and attempts are left, else FAILED or CANCELLED.
  // kWorkerStopping costs no attempt, and a checkpoint with more steps than all before gives the
  // job all its attempts back. FAILED_PRECONDITION when it says `cancelled` and nobody cancelled.
  virtual absl::StatusOr<JobRecord> Fail(const std::string& job_id, int32_t attempt,
                                         const JobFailure& failure) = 0;
  // Gives up the leases that have ended: requeues their jobs, or ends them FAILED with
  // kMaxAttemptsExceeded or CANCELLED. The reaper calls it every second or so. Returns the jobs as
  // they are now.
  virtual absl::StatusOr<std::vector<JobRecord>> ExpireLeases() = 0;
  // Lets leases of this boot last at least `ttl` from now. For the start of a server: while none
  // ran, no heartbeat could arrive.
  virtual absl::Status ExtendLeases(absl::Duration ttl) = 0;

  virtual absl::StatusOr<QueueStats> GetQueueStats() = 0;
};

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_WORK_QUEUE_H_
