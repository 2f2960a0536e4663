#include "storage/lease_rows.h"

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "storage/error_reason.h"
#include "storage/job_rows.h"

namespace wardtune {

absl::Status LeaseLost(const std::string& job_id, int32_t attempt) {
  return WithReason(
      absl::FailedPreconditionError(absl::StrCat("attempt ", attempt, " of work ", job_id,
                                                 " holds no lease; stop working on it")),
      kReasonLeaseLost);
}

absl::StatusOr<JobRecord> FindLeased(Database& database, const std::string& job_id,
                                     int32_t attempt) {
  absl::StatusOr<JobRecord> job = FindJob(database, job_id);
  if (absl::IsNotFound(job.status())) return LeaseLost(job_id, attempt);
  WT_RETURN_IF_ERROR(job.status());
  if (job->attempt != attempt || !HasLease(job->state)) return LeaseLost(job_id, attempt);
  return job;
}

absl::Status RequireOneRow(const absl::StatusOr<int64_t>& updated, const std::string& job_id,
                           int32_t attempt) {
  WT_RETURN_IF_ERROR(updated.status());
  return *updated == 1 ? absl::OkStatus() : LeaseLost(job_id, attempt);
}

}  // namespace wardtune
