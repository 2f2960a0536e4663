#include "storage/job_rows.h"

#include "absl/strings/str_cat.h"
#include "storage/error_reason.h"
#include "storage/not_found.h"
#include "storage/sqlite_audit_store.h"
#include "storage/sqlite_security_vector_store.h"

namespace wardtune {
namespace {

constexpr char kGetJob[] = "SELECT " WARDTUNE_JOB_COLUMNS " FROM job WHERE id = ?";
constexpr char kInsertJob[] =
    "INSERT INTO job (id, tenant, kind, display_name, dataset_id, dataset_sha256, dataset_size,"
    " general_id, general_sha256, general_size, base_model, base_sha256, spec, estimate, vector,"
    " version, safety_suite, audited_adapter, start_adapter_id, start_sha256, start_size,"
    " start_tensors_sha256, chain_length, create_time)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULLIF(?, ''), ?, ?, ?, ?, ?, ?)";
constexpr char kNextSequence[] =
    "UPDATE job SET last_sequence = last_sequence + 1 WHERE id = ? RETURNING last_sequence";
constexpr char kInsertEvent[] =
    "INSERT INTO job_event (job_id, sequence, time, state, phase, progress, message)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)";
// An event without a message reports progress alone; only the latest of those are kept.
constexpr char kThinEvents[] =
    "DELETE FROM job_event WHERE job_id = ? AND sequence <= ? AND message = ''";
constexpr int64_t kKeptEvents = 1000;

// Each move repeats state and attempt of the row that was read: the resource itself refuses an old
// token.
constexpr char kRequeue[] =
    "UPDATE job SET state = ?, phase = 0, lease_owner = NULL, lease_expires = NULL,"
    " lease_boot = NULL, revision = revision + 1 WHERE id = ? AND state = ? AND attempt = ?";
constexpr char kAskToStop[] =
    "UPDATE job SET state = ?, revision = revision + 1 WHERE id = ? AND state = ? AND attempt = ?";
constexpr char kEnd[] =
    "UPDATE job SET state = ?1, phase = 0, lease_owner = NULL, lease_expires = NULL,"
    " lease_boot = NULL, end_time = ?2, error_code = ?3, error_message = ?4, adapter_id = ?5,"
    " checkpoint_sha256 = '', checkpoint_size = 0, revision = revision + 1"
    " WHERE id = ?6 AND state = ?7 AND attempt = ?8";
constexpr char kSetRowScan[] = "UPDATE job SET row_scan = ? WHERE id = ?";
constexpr char kSetDropped[] = "INSERT INTO row_scan_dropped (job_id, rows) VALUES (?, ?)";
constexpr char kDropArtifacts[] = "DELETE FROM artifact WHERE job_id = ?";

std::string Describe(const JobRecord& job, JobState next, const JobEnding& ending) {
  switch (next) {
    case JobState::kQueued:
      return absl::StrCat("attempt ", job.attempt, " ended (", ending.error_code,
                          "); waits for another worker");
    case JobState::kCancelling:
      return "cancel requested; the worker will stop at its next heartbeat";
    case JobState::kSucceeded:
      return ending.quarantined ? "succeeded; the result is quarantined" : "succeeded";
    case JobState::kFailed:
      return absl::StrCat("failed: ", ending.error_code);
    case JobState::kCancelled:
      return "cancelled";
    case JobState::kRunning:
      break;
  }
  return "running";
}

absl::StatusOr<int64_t> UpdateState(Database& database, const JobRecord& job, JobState next,
                                    const JobEnding& ending, absl::Time now) {
  if (next == JobState::kQueued) {
    return database.Run(kRequeue, next, job.id, job.state, job.attempt);
  }
  if (!IsFinal(next)) return database.Run(kAskToStop, next, job.id, job.state, job.attempt);
  const bool failed = next == JobState::kFailed;
  return database.Run(
      kEnd, next, now, failed ? ending.error_code : "", failed ? ending.error_message : "",
      next == JobState::kSucceeded ? ending.adapter_id : "", job.id, job.state, job.attempt);
}

}  // namespace

JobRecord ReadJob(Statement& row) {
  JobRecord job;
  job.id = row.Text();
  job.tenant = row.Text();
  job.kind = row.As<JobKind>();
  job.display_name = row.Text();
  job.dataset_id = row.Text();
  job.base_model = row.Text();
  job.base_sha256 = row.Text();
  job.spec = row.Text();
  job.estimate = row.Text();
  job.vector = row.Text();
  job.version = row.Int();
  job.safety_suite = row.Text();
  job.state = row.As<JobState>();
  job.phase = static_cast<int32_t>(row.Int());
  job.queue_position = row.Int();
  job.attempt = static_cast<int32_t>(row.Int());
  job.lease_owner = row.Text();
  job.progress = row.Text();
  job.checkpoint.sha256 = row.Text();
  job.checkpoint.size_bytes = row.Int();
  job.checkpoint_step = row.Int();
  job.safety_before = row.Text();
  job.safety_after = row.Text();
  job.proof = row.Text();
  job.adapter_id = row.Text();
  job.error_code = row.Text();
  job.error_message = row.Text();
  job.create_time = row.Time();
  job.start_time = row.Time();
  job.end_time = row.Time();
  job.etag = row.Text();
  job.checkpoint_attempt = static_cast<int32_t>(row.Int());
  job.furthest_step = row.Int();
  job.failures = static_cast<int32_t>(row.Int());
  job.row_scan = row.Text();
  job.checkpoint_scores = row.Text();
  job.audited_adapter = row.Text();
  if (const int64_t result = row.Int(); result != 0) {
    job.audit_result = static_cast<AuditState>(result);
  }
  job.start_adapter_id = row.Text();
  job.start.sha256 = row.Text();
  job.start.size_bytes = row.Int();
  job.start_tensors_sha256 = row.Text();
  job.chain_length = static_cast<int32_t>(row.Int());
  job.safety_start = row.Text();
  if (!job.adapter_id.empty()) {
    job.gate.state = row.As<GateState>();
    job.gate.verdict = row.Text();
  }
  return job;
}

absl::StatusOr<JobRecord> FindJob(Database& database, const std::string& id) {
  WT_ASSIGN_OR_RETURN(Statement row, database.Query(kGetJob, id));
  WT_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return NotFound("job", id);
  return ReadJob(row);
}

absl::Status InsertJob(Database& database, const JobRecord& job, const PinnedInputs& inputs,
                       absl::Time now) {
  WT_RETURN_IF_ERROR(database
                         .Run(kInsertJob, job.id, job.tenant, job.kind, job.display_name,
                              job.dataset_id, inputs.dataset.sha256, inputs.dataset.size_bytes,
                              inputs.general_id, inputs.general.sha256, inputs.general.size_bytes,
                              job.base_model, job.base_sha256, Bytes{job.spec}, Bytes{job.estimate},
                              job.vector, job.version, job.safety_suite, job.audited_adapter,
                              job.start_adapter_id, job.start.sha256, job.start.size_bytes,
                              job.start_tensors_sha256, job.chain_length, now)
                         .status());
  return AppendEvent(database, job.id, now, JobState::kQueued, 0, "", "queued");
}

absl::Status AppendEvent(Database& database, const std::string& job_id, absl::Time now,
                         JobState state, int32_t phase, const std::string& progress,
                         const std::string& message) {
  int64_t sequence = 0;
  {
    WT_ASSIGN_OR_RETURN(Statement row, database.Query(kNextSequence, job_id));
    WT_RETURN_IF_ERROR(row.Step().status());
    sequence = row.Int();
    // Runs the UPDATE to its end.
    WT_RETURN_IF_ERROR(row.Step().status());
  }
  WT_RETURN_IF_ERROR(
      database.Run(kInsertEvent, job_id, sequence, now, state, phase, Bytes{progress}, message)
          .status());
  return database.Run(kThinEvents, job_id, sequence - kKeptEvents).status();
}

absl::Status RecordRowScan(Database& database, const JobRecord& job, const RowScanRecord& scan) {
  if (scan.report.empty() || !job.row_scan.empty()) return absl::OkStatus();
  WT_RETURN_IF_ERROR(database.Run(kSetRowScan, Bytes{scan.report}, job.id).status());
  if (scan.dropped.empty()) return absl::OkStatus();
  return database.Run(kSetDropped, job.id, Bytes{scan.dropped}).status();
}

absl::StatusOr<JobRecord> MoveJob(Database& database, const JobRecord& job, JobEvent event,
                                  const JobEnding& ending, absl::Time now) {
  WT_ASSIGN_OR_RETURN(const JobState next, Next(job.state, event));
  // Cancelling twice changes nothing.
  if (next == job.state) return job;
  WT_ASSIGN_OR_RETURN(const int64_t updated, UpdateState(database, job, next, ending, now));
  if (updated == 0) {
    return WithReason(absl::FailedPreconditionError(
                          absl::StrCat("job ", job.id, " is no longer in attempt ", job.attempt)),
                      kReasonLeaseLost);
  }
  if (!HasLease(next)) {
    WT_RETURN_IF_ERROR(database.Run(kDropArtifacts, job.id).status());
  }
  if (job.kind == JobKind::kSecurityVector &&
      (next == JobState::kFailed || next == JobState::kCancelled)) {
    WT_RETURN_IF_ERROR(FailSecurityVector(
        database, job.vector, job.version,
        next == JobState::kFailed ? ending.error_message : "the training was cancelled"));
  }
  if (job.kind == JobKind::kAudit && IsFinal(next) && next != JobState::kSucceeded) {
    WT_RETURN_IF_ERROR(StoreAuditFailure(database, job, now));
  }
  const int32_t phase = HasLease(next) ? job.phase : 0;
  WT_RETURN_IF_ERROR(
      AppendEvent(database, job.id, now, next, phase, "", Describe(job, next, ending)));
  return FindJob(database, job.id);
}

}  // namespace wardtune
