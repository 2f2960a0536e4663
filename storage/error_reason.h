// A stable, machine-readable reason on an absl::Status; the server turns it into ErrorInfo.
// Thread safety: all functions are pure.
#ifndef WARDTUNE_STORAGE_ERROR_REASON_H_
#define WARDTUNE_STORAGE_ERROR_REASON_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace wardtune {

// The attempt is no longer the current one (FAILED_PRECONDITION): the worker must stop.
inline constexpr std::string_view kReasonLeaseLost = "LEASE_LOST";
// Quotas of the tenant (RESOURCE_EXHAUSTED).
inline constexpr std::string_view kReasonActiveJobsQuota = "ACTIVE_JOBS_QUOTA_EXCEEDED";
inline constexpr std::string_view kReasonDatasetBytesQuota = "DATASET_BYTES_QUOTA_EXCEEDED";
inline constexpr std::string_view kReasonDatasetsQuota = "DATASETS_QUOTA_EXCEEDED";
inline constexpr std::string_view kReasonOpenReportsQuota = "OPEN_REPORTS_QUOTA_EXCEEDED";
// The request id came before with another body (ALREADY_EXISTS).
inline constexpr std::string_view kReasonRequestIdReused = "REQUEST_ID_REUSED";
// The base model has no active security vector that fits its digest (FAILED_PRECONDITION).
inline constexpr std::string_view kReasonNoSecurityVector = "NO_ACTIVE_SECURITY_VECTOR";
// The data set is not READY (FAILED_PRECONDITION).
inline constexpr std::string_view kReasonDatasetNotReady = "DATASET_NOT_READY";
// The safety gate holds the adapter back (FAILED_PRECONDITION).
inline constexpr std::string_view kReasonAdapterQuarantined = "ADAPTER_QUARANTINED";
// The start adapter was made on other files of the base model (FAILED_PRECONDITION).
inline constexpr std::string_view kReasonStartBaseChanged = "START_ADAPTER_BASE_CHANGED";
// error_code of an attempt whose worker was told to stop; not a Status.
inline constexpr std::string_view kWorkerStopping = "WORKER_STOPPING";
// error_code of a job that used up its attempts; not a Status.
inline constexpr std::string_view kMaxAttemptsExceeded = "MAX_ATTEMPTS_EXCEEDED";

// The status with the reason on it.
absl::Status WithReason(absl::Status status, std::string_view reason);
// The reason, or "" when there is none.
std::string ReasonOf(const absl::Status& status);

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_ERROR_REASON_H_
