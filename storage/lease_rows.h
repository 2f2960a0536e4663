// The fence of a lease as it is found in the rows: shared by the files of the work queue.
// Thread safety: as Database. Every function runs inside the caller's transaction.
#ifndef WARDTUNE_STORAGE_LEASE_ROWS_H_
#define WARDTUNE_STORAGE_LEASE_ROWS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/records.h"
#include "storage/sqlite_database.h"

namespace wardtune {

// FAILED_PRECONDITION with kReasonLeaseLost.
absl::Status LeaseLost(const std::string& job_id, int32_t attempt);

// The job, if the attempt holds its lease, else LeaseLost.
absl::StatusOr<JobRecord> FindLeased(Database& database, const std::string& job_id,
                                     int32_t attempt);

// LeaseLost unless an UPDATE that names the attempt changed one row: the row itself checks the
// fencing token once more.
absl::Status RequireOneRow(const absl::StatusOr<int64_t>& updated, const std::string& job_id,
                           int32_t attempt);

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_LEASE_ROWS_H_
