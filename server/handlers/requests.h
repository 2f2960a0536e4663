// What handlers of mutations and lists share: idempotency keys and the words of NOT_FOUND.
// Thread safety: re-entrant functions.
#ifndef WARDTUNE_SERVER_HANDLERS_REQUESTS_H_
#define WARDTUNE_SERVER_HANDLERS_REQUESTS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/rpc/caller.h"
#include "server/rpc/error_details.h"
#include "storage/metadata_store.h"

namespace google::protobuf {
class Message;
}

namespace wardtune {

// The key under which the answer to `request` is remembered. `request` must have `request_id`.
RequestKey MakeRequestKey(const Caller& caller, const char* method, const std::string& request_id,
                          const google::protobuf::Message& request);

// NOT_FOUND becomes ResourceNotFound(kind); everything else passes.
inline absl::Status Named(std::string_view kind, absl::Status status) {
  return absl::IsNotFound(status) ? ResourceNotFound(kind) : status;
}
template <typename T>
absl::StatusOr<T> Named(std::string_view kind, absl::StatusOr<T> value) {
  if (value.ok()) return value;
  return Named(kind, value.status());
}

// The stored answer as its message.
template <typename Response>
absl::StatusOr<Response> ParseAnswer(const Answer& answer) {
  Response response;
  if (!response.ParseFromString(answer.response)) {
    return absl::DataLossError("a remembered answer does not parse");
  }
  return response;
}

// Reads the paging fields of a list request. The store checks them.
template <typename Request>
PageRequest PageOf(const Request& request) {
  return {request.page_size(), request.page_token()};
}

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_HANDLERS_REQUESTS_H_
