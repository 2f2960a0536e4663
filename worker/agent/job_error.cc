#include "worker/agent/job_error.h"

#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"
#include "worker/model/out_of_memory.h"

namespace wardtune {
namespace {

constexpr const char* kReasonUrl = "wardtune/job_reason";
constexpr const char* kRetryableUrl = "wardtune/job_retryable";

}  // namespace

absl::Status WithJobReason(std::string_view reason, absl::Status status, bool retryable) {
  if (status.ok() || status.GetPayload(kReasonUrl).has_value()) return status;
  status.SetPayload(kReasonUrl, absl::Cord(std::string(reason)));
  if (retryable) status.SetPayload(kRetryableUrl, absl::Cord("1"));
  return status;
}

JobFailure FailureOf(const absl::Status& status) {
  JobFailure failure;
  failure.message = std::string(status.message());
  if (const auto reason = status.GetPayload(kReasonUrl)) {
    failure.code = std::string(*reason);
    failure.retryable = status.GetPayload(kRetryableUrl).has_value();
    return failure;
  }
  failure.code = std::string(IsOutOfMemory(status) ? kOutOfMemory : kWorkerFailed);
  failure.retryable = true;
  return failure;
}

absl::Status SecurityVectorError(absl::Status status) {
  switch (status.code()) {
    case absl::StatusCode::kPermissionDenied:
      return WithJobReason(kSecurityVectorKeyMismatch, std::move(status), /*retryable=*/true);
    case absl::StatusCode::kFailedPrecondition:
      return WithJobReason(kSecurityVectorInactive, std::move(status));
    case absl::StatusCode::kDataLoss:
      return WithJobReason(kSecurityVectorAltered, std::move(status));
    default:
      return status;
  }
}

}  // namespace wardtune
