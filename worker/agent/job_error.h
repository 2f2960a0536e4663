// Why an attempt ended without a result: a status that carries the stable reason which FailJob
// sends to the server.
// Thread safety: pure functions.
#ifndef WARDTUNE_WORKER_AGENT_JOB_ERROR_H_
#define WARDTUNE_WORKER_AGENT_JOB_ERROR_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace wardtune {

// Stable reasons; customers' programs may switch on them.
inline constexpr std::string_view kSecurityVectorMissing = "SECURITY_VECTOR_MISSING";
inline constexpr std::string_view kSecurityVectorAltered = "SECURITY_VECTOR_ALTERED";
inline constexpr std::string_view kSecurityVectorInactive = "SECURITY_VECTOR_INACTIVE";
inline constexpr std::string_view kSecurityVectorKeyMismatch = "SECURITY_VECTOR_KEY_MISMATCH";
inline constexpr std::string_view kStripFailed = "STRIP_FAILED";
inline constexpr std::string_view kLossNotFinite = "LOSS_NOT_FINITE";
inline constexpr std::string_view kInputDamaged = "INPUT_DAMAGED";
inline constexpr std::string_view kInputMissing = "INPUT_MISSING";
inline constexpr std::string_view kInputInvalid = "INPUT_INVALID";
inline constexpr std::string_view kRowsSuspicious = "ROWS_SUSPICIOUS";
inline constexpr std::string_view kBaseModelMismatch = "BASE_MODEL_MISMATCH";
inline constexpr std::string_view kOutOfMemory = "OUT_OF_MEMORY";
inline constexpr std::string_view kWorkerStopping = "WORKER_STOPPING";
inline constexpr std::string_view kWorkerFailed = "WORKER_FAILED";

// `status` with a reason. Leaves OK and a status that has a reason already as they are.
absl::Status WithJobReason(std::string_view reason, absl::Status status, bool retryable = false);

struct JobFailure {
  std::string code;
  std::string message;
  bool retryable = false;
};
// The failure to report. Without a reason: OUT_OF_MEMORY where IsOutOfMemory (out_of_memory.h),
// else WORKER_FAILED; retryable, as another worker may do better. The message is cut at the 2048
// bytes that the server takes. REQUIRES: not OK.
JobFailure FailureOf(const absl::Status& status);

// A failed check of a security vector: PERMISSION_DENIED is another key, FAILED_PRECONDITION an
// inactive vector, DATA_LOSS an altered one; other codes are left as they are.
absl::Status SecurityVectorError(absl::Status status);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_AGENT_JOB_ERROR_H_
