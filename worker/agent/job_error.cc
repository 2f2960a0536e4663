#include "worker/agent/job_error.h"

#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"
#include "worker/model/out_of_memory.h"

namespace wardtune {
namespace {

constexpr const char* kReasonUrl = "wardtune/job_reason";
constexpr const char* kRetryableUrl = "wardtune/job_retryable";

// The server refuses longer messages, and with them the whole report.
constexpr size_t kMaxMessageBytes = 2048;

// At most `limit` bytes from the front; no character is cut through.
std::string CutUtf8(absl::string_view text, size_t limit) {
  if (text.size() <= limit) return std::string(text);
  size_t end = limit;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return std::string(text.substr(0, end));
}

}  // namespace

absl::Status WithJobReason(std::string_view reason, absl::Status status, bool retryable) {
  if (status.ok() || status.GetPayload(kReasonUrl).has_value()) return status;
  status.SetPayload(kReasonUrl, absl::Cord(std::string(reason)));
  if (retryable) status.SetPayload(kRetryableUrl, absl::Cord("1"));
  return status;
}

JobFailure FailureOf(const absl::Status& status) {
  JobFailure failure;
  failure.message = CutUtf8(status.message(), kMaxMessageBytes);
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
