// What workers deliver: artefacts, results and failures.
#include <string>

#include "storage/error_reason.h"
#include "storage/job_rows.h"
#include "storage/lease_rows.h"
#include "storage/random_id.h"
#include "storage/sqlite_audit_store.h"
#include "storage/sqlite_safety_store.h"
#include "storage/sqlite_security_vector_store.h"
#include "storage/sqlite_work_queue.h"

namespace wardtune {
namespace {

constexpr char kSetCheckpoint[] =
    "UPDATE job SET checkpoint_sha256 = ?, checkpoint_size = ?, checkpoint_step = ?,"
    " checkpoint_attempt = attempt, furthest_step = ?, failures = ?, revision = revision + 1"
    " WHERE id = ? AND state IN (2, 3) AND attempt = ?";
constexpr char kCountFailure[] = "UPDATE job SET failures = failures + 1 WHERE id = ?";
constexpr char kPutArtifact[] =
    "INSERT OR REPLACE INTO artifact (job_id, attempt, kind, sha256, size) VALUES (?, ?, ?, ?, ?)";
constexpr char kGetArtifact[] =
    "SELECT sha256, size FROM artifact WHERE job_id = ? AND attempt = ? AND kind = ?";
constexpr char kSetResult[] =
    "UPDATE job SET progress = ?, safety_before = ?, safety_start = ?, safety_after = ?, proof = ?,"
    " checkpoint_scores = ?"
    " WHERE id = ? AND state = 2 AND attempt = ?";
constexpr char kInsertAdapter[] =
    "INSERT INTO adapter (id, tenant, job_id, base_model, sha256, size, gate_state, gate_verdict,"
    " create_time, audit_time, audit_suite)"
    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10)";
constexpr char kResultOf[] =
    "SELECT sha256 FROM adapter WHERE job_id = ?1"
    " UNION ALL SELECT sealed_sha256 FROM security_vector WHERE job_id = ?1"
    " UNION ALL SELECT result_sha256 FROM adapter_audit WHERE job_id = ?1";

ArtifactKind ResultKind(const JobRecord& job) {
  return job.kind == JobKind::kFineTuning ? ArtifactKind::kAdapter : ArtifactKind::kSecurityVector;
}

// Whether `job` succeeded by this attempt with this artefact; a job that is missing did not.
absl::StatusOr<bool> IsResultOf(Database& database, const absl::StatusOr<JobRecord>& job,
                                int32_t attempt, const std::string& artifact_sha256) {
  if (absl::IsNotFound(job.status())) return false;
  WT_RETURN_IF_ERROR(job.status());
  if (job->attempt != attempt || job->state != JobState::kSucceeded) return false;
  WT_ASSIGN_OR_RETURN(Statement row, database.Query(kResultOf, job->id));
  WT_RETURN_IF_ERROR(row.Step().status());
  return row.Text() == artifact_sha256;
}

}  // namespace

absl::StatusOr<BlobRef> SqliteWorkQueue::RecordArtifact(const std::string& job_id, int32_t attempt,
                                                        ArtifactKind kind, const BlobRef& blob,
                                                        int64_t step) {
  return WriteWith<BlobRef>(context_, [&](Database& database) -> absl::StatusOr<BlobRef> {
    WT_ASSIGN_OR_RETURN(const JobRecord job, FindLeased(database, job_id, attempt));
    const bool result = kind != ArtifactKind::kCheckpoint;
    if (job.kind == JobKind::kAudit || (result && kind != ResultKind(job))) {
      return absl::InvalidArgumentError(
          absl::StrCat("kind: work ", job_id, " does not make artefacts of this kind"));
    }
    if (result) {
      WT_RETURN_IF_ERROR(
          database.Run(kPutArtifact, job_id, attempt, kind, blob.sha256, blob.size_bytes).status());
      return BlobRef();
    }
    if (job.checkpoint_attempt == attempt && step < job.checkpoint_step) {
      return absl::FailedPreconditionError(absl::StrCat("step: a checkpoint of step ",
                                                        job.checkpoint_step,
                                                        " is stored already, this one has ", step));
    }
    const bool further = step > job.furthest_step;
    WT_RETURN_IF_ERROR(RequireOneRow(database.Run(kSetCheckpoint, blob.sha256, blob.size_bytes,
                                                  step, further ? step : job.furthest_step,
                                                  further ? 0 : job.failures, job_id, attempt),
                                     job_id, attempt));
    return job.checkpoint.sha256 == blob.sha256 ? BlobRef() : job.checkpoint;
  });
}

absl::Status SqliteWorkQueue::StoreResult(Database& database, const JobRecord& job,
                                          const JobResult& result, JobEnding& ending) {
  if (job.kind == JobKind::kAudit) {
    return StoreAuditScore(database, job, result, context_.clock.Now());
  }
  BlobRef artifact;
  {
    WT_ASSIGN_OR_RETURN(Statement row,
                        database.Query(kGetArtifact, job.id, job.attempt, ResultKind(job)));
    WT_ASSIGN_OR_RETURN(const bool found, row.Step());
    if (found) artifact = {row.Text(), row.Int()};
  }
  if (artifact.empty() || artifact.sha256 != result.artifact_sha256) {
    return absl::InvalidArgumentError(absl::StrCat("artefact ", result.artifact_sha256,
                                                   " was not uploaded by attempt ", job.attempt,
                                                   " of work ", job.id));
  }
  WT_RETURN_IF_ERROR(RequireOneRow(
      database.Run(kSetResult, Bytes{result.progress}, Bytes{result.safety_before},
                   Bytes{result.safety_start}, Bytes{result.safety_after}, Bytes{result.proof},
                   Bytes{result.checkpoint_scores}, job.id, job.attempt),
      job.id, job.attempt));
  if (job.kind == JobKind::kSecurityVector) {
    return EvaluateSecurityVector(database, job.vector, job.version, artifact, result);
  }
  if (!result.judge) {
    return absl::InvalidArgumentError(
        absl::StrCat("the result of work ", job.id, " has no judge; no result passes unjudged"));
  }
  WT_ASSIGN_OR_RETURN(const SafetyPolicyRecord policy, CurrentSafetyPolicy(database));
  const GateRecord gate = result.judge(policy);
  ending.quarantined = gate.state == GateState::kQuarantined;
  return database
      .Run(kInsertAdapter, ending.adapter_id, job.tenant, job.id, job.base_model, artifact.sha256,
           artifact.size_bytes, gate.state, Bytes{gate.verdict}, context_.clock.Now(),
           job.safety_suite)
      .status();
}

absl::StatusOr<CompletedJob> SqliteWorkQueue::Complete(const std::string& job_id, int32_t attempt,
                                                       const JobResult& result) {
  WT_ASSIGN_OR_RETURN(const std::string new_id, RandomId());
  WT_ASSIGN_OR_RETURN(
      CompletedJob ended,
      WriteWith<CompletedJob>(context_, [&](Database& database) -> absl::StatusOr<CompletedJob> {
        absl::StatusOr<JobRecord> found = FindJob(database, job_id);
        WT_ASSIGN_OR_RETURN(const bool repeated,
                            IsResultOf(database, found, attempt, result.artifact_sha256));
        if (repeated) return CompletedJob{*std::move(found), true};
        WT_ASSIGN_OR_RETURN(const JobRecord job, FindLeased(database, job_id, attempt));
        JobEnding ending;
        WT_RETURN_IF_ERROR(RecordRowScan(database, job, result.row_scan));
        if (job.state == JobState::kRunning) {
          if (job.kind == JobKind::kFineTuning) ending.adapter_id = new_id;
          WT_RETURN_IF_ERROR(StoreResult(database, job, result, ending));
        }
        WT_ASSIGN_OR_RETURN(JobRecord moved, MoveJob(database, job, JobEvent::kComplete, ending,
                                                     context_.clock.Now()));
        return CompletedJob{std::move(moved), false};
      }));
  if (!ended.repeated) context_.JobChanged(job_id, ended.job.state);
  return ended;
}

absl::StatusOr<bool> SqliteWorkQueue::EndedWith(const std::string& tenant,
                                                const std::string& job_id, int32_t attempt,
                                                const std::string& artifact_sha256) {
  return ReadWith<bool>(context_, [&](Database& database) -> absl::StatusOr<bool> {
    const absl::StatusOr<JobRecord> job = FindJob(database, job_id);
    if (job.ok() && job->tenant != tenant) return false;
    return IsResultOf(database, job, attempt, artifact_sha256);
  });
}

absl::StatusOr<JobRecord> SqliteWorkQueue::EndAttempt(Database& database, const JobRecord& job,
                                                      bool retryable, const std::string& error_code,
                                                      const std::string& error_message) {
  const absl::Time now = context_.clock.Now();
  if (!retryable) {
    return MoveJob(database, job, JobEvent::kFail, {error_code, error_message, ""}, now);
  }
  if (error_code == kWorkerStopping) {
    return MoveJob(database, job, JobEvent::kRetry, {error_code, error_message, ""}, now);
  }
  WT_RETURN_IF_ERROR(database.Run(kCountFailure, job.id).status());
  if (job.failures + 1 < context_.options.max_attempts) {
    return MoveJob(database, job, JobEvent::kRetry, {error_code, error_message, ""}, now);
  }
  const std::string message =
      absl::StrCat("attempt ", job.attempt, " ended with ", error_code, ": ", error_message, "; ",
                   job.failures + 1, " attempts in a row came no further");
  return MoveJob(database, job, JobEvent::kFail, {std::string(kMaxAttemptsExceeded), message, ""},
                 now);
}

absl::StatusOr<JobRecord> SqliteWorkQueue::Fail(const std::string& job_id, int32_t attempt,
                                                const JobFailure& failure) {
  WT_ASSIGN_OR_RETURN(
      JobRecord ended,
      WriteWith<JobRecord>(context_, [&](Database& database) -> absl::StatusOr<JobRecord> {
        WT_ASSIGN_OR_RETURN(const JobRecord job, FindLeased(database, job_id, attempt));
        WT_RETURN_IF_ERROR(RecordRowScan(database, job, failure.row_scan));
        if (failure.cancelled) {
          return MoveJob(database, job, JobEvent::kStop, {}, context_.clock.Now());
        }
        if (failure.error_code.empty()) {
          return absl::InvalidArgumentError("error_code: is empty; name the reason");
        }
        return EndAttempt(database, job, failure.retryable, failure.error_code,
                          failure.error_message);
      }));
  context_.JobChanged(job_id, ended.state);
  return ended;
}

}  // namespace wardtune
