// Statuses that carry google.rpc error details, and the one way out of the server for them.
//
// Inside the server errors are absl::Status; details ride along as payloads keyed by the type URL
// of their google.rpc message, reasons as storage/error_reason.h says. ToGrpcStatus() packs them
// into google.rpc.Status, which gRPC sends as `grpc-status-details-bin`. Thread safety: re-entrant
// functions.
#ifndef WARDTUNE_SERVER_RPC_ERROR_DETAILS_H_
#define WARDTUNE_SERVER_RPC_ERROR_DETAILS_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace grpc {
class Status;
}

namespace wardtune {

// One thing wrong in a request; `field` is a path such as `hyperparameters.learning_rate`, or
// `line 12, column 5` of an uploaded data set.
struct FieldViolation {
  std::string field;
  std::string description;
};

// INVALID_ARGUMENT with google.rpc.BadRequest that names the first eight violations; the text
// counts the others. REQUIRES: at least one violation.
absl::Status InvalidFields(const std::vector<FieldViolation>& violations);
absl::Status InvalidField(std::string field, std::string description);

// NOT_FOUND for a name that does not exist or belongs to somebody else. The text depends on `kind`
// ("data set", "job", ...) alone, so that the two cases cannot be told apart.
absl::Status ResourceNotFound(std::string_view kind);

// RESOURCE_EXHAUSTED with google.rpc.QuotaFailure.
absl::Status QuotaExceeded(const std::string& subject, const std::string& description);

// Adds google.rpc.RetryInfo.
absl::Status RetryAfter(absl::Status status, absl::Duration delay);

// The reason set by WithReason (storage/error_reason.h), else the code's own name.
std::string ReasonOrCode(const absl::Status& status);

// What the client sees: the reason becomes google.rpc.ErrorInfo. INTERNAL, UNKNOWN and failures of
// the machine that carry no reason (paths, SQL) keep their code and lose their text.
grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_RPC_ERROR_DETAILS_H_
