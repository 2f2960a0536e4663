// Jobs, their events and their moves as rows: what the tenants' view and the work queue share.
// Thread safety: as Database. Every function runs inside the caller's transaction.
#ifndef WARDTUNE_STORAGE_JOB_ROWS_H_
#define WARDTUNE_STORAGE_JOB_ROWS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/records.h"
#include "storage/sqlite_database.h"

namespace wardtune {

// The columns that ReadJob expects; a macro, because only literals concatenate.
#define WARDTUNE_JOB_COLUMNS                                                                     \
  "id, tenant, kind, display_name, dataset_id, base_model, base_sha256, spec, estimate, vector," \
  " version, safety_suite, state, phase,"                                                        \
  " CASE WHEN state = 1 THEN (SELECT COUNT(*) FROM job ahead WHERE ahead.state = 1"              \
  " AND ahead.kind <> 3 AND ahead.base_model = job.base_model AND ahead.seq <= job.seq) ELSE 0 " \
  "END,"                                                                                         \
  " attempt, lease_owner, progress, checkpoint_sha256, checkpoint_size, checkpoint_step,"        \
  " safety_before, safety_after, proof, adapter_id, error_code, error_message, create_time,"     \
  " start_time, end_time, revision, checkpoint_attempt, furthest_step, failures,"                \
  " row_scan, checkpoint_scores, audited_adapter,"                                               \
  " (SELECT result FROM adapter_audit WHERE job_id = job.id),"                                   \
  " start_adapter_id, start_sha256, start_size, start_tensors_sha256, chain_length,"             \
  " safety_start, (SELECT gate_state FROM adapter WHERE job_id = job.id),"                       \
  " (SELECT gate_verdict FROM adapter WHERE job_id = job.id)"

JobRecord ReadJob(Statement& row);

// NOT_FOUND when there is no such job, of any tenant and kind.
absl::StatusOr<JobRecord> FindJob(Database& database, const std::string& id);

// The inputs that a new job pins.
struct PinnedInputs {
  BlobRef dataset;
  std::string general_id;  // JobKind::kSecurityVector only.
  BlobRef general;
};

// Inserts a job, QUEUED, with its first event. Uses the fields of `job` that are known at creation.
absl::Status InsertJob(Database& database, const JobRecord& job, const PinnedInputs& inputs,
                       absl::Time now);

absl::Status AppendEvent(Database& database, const std::string& job_id, absl::Time now,
                         JobState state, int32_t phase, const std::string& progress,
                         const std::string& message);

// Why a job ends or is queued again; empty fields are kept as they are.
struct JobEnding {
  std::string error_code;
  std::string error_message;
  std::string adapter_id;
  bool quarantined = false;  // The adapter is kept from its customer.
};

// Stores what a scan found, unless the job has a report already or `scan` has none.
absl::Status RecordRowScan(Database& database, const JobRecord& job, const RowScanRecord& scan);

// Moves a job to where `event` leads and returns its new row: requeues it, or ends it, gives up its
// lease and its attempt's artefacts, fails the security vector or the audit that it was to make,
// and notes the event. `job` is the row as just read. REQUIRES: event is not kLease. Errors:
// FAILED_PRECONDITION naming the state when it is illegal.
absl::StatusOr<JobRecord> MoveJob(Database& database, const JobRecord& job, JobEvent event,
                                  const JobEnding& ending, absl::Time now);

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_JOB_ROWS_H_
