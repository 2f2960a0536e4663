// The answers of requests with an id, kept in the mutation's own transaction (AIP-155).
// Thread safety: as Database.
#ifndef WARDTUNE_STORAGE_REQUEST_LOG_H_
#define WARDTUNE_STORAGE_REQUEST_LOG_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/metadata_store.h"
#include "storage/sqlite_database.h"

namespace wardtune {

// The answer that the same request got before; nullopt when it is new or has no request id.
// ALREADY_EXISTS with kReasonRequestIdReused when it had another body.
absl::StatusOr<std::optional<std::string>> FindAnswer(Database& database, const RequestKey& key);

// Keeps the answer; nothing without a request id.
absl::Status SaveAnswer(Database& database, const RequestKey& key, const std::string& response,
                        absl::Time now);

// Drops the answers from before `time`.
absl::Status ForgetAnswersBefore(Database& database, absl::Time time);

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_REQUEST_LOG_H_
