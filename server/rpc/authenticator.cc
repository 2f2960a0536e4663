#include "server/rpc/authenticator.h"

#include "absl/status/status.h"
#include "base/status_macros.h"
#include "server/api_key.h"
#include "server/rpc/error_details.h"
#include "storage/error_reason.h"

namespace wardtune {
namespace {

constexpr std::string_view kScheme = "Bearer ";
constexpr size_t kMaxGoodHashes = 10'000;

// The key behind the scheme; empty without.
std::string_view KeyOf(std::string_view authorization) {
  const bool has_scheme = authorization.substr(0, kScheme.size()) == kScheme;
  return has_scheme ? authorization.substr(kScheme.size()) : "";
}

absl::Status NotValid() { return absl::UnauthenticatedError("the API key is not valid"); }

}  // namespace

absl::StatusOr<Caller> Authenticator::Authenticate(std::string_view authorization,
                                                   const std::string& peer) {
  if (authorization.empty()) {
    return absl::UnauthenticatedError(
        "no API key: send the metadata `authorization: Bearer <key>`");
  }
  const std::string_view key = KeyOf(authorization);
  // A malformed key is no guess: it cannot be right, and refusing it reads nothing.
  if (!ParseApiKey(key).ok()) return NotValid();
  const std::string hash = ApiKeyHash(key);
  bool known_good = false;
  {
    absl::MutexLock lock(&mutex_);
    known_good = good_hashes_.contains(hash);
  }
  if (!known_good) {
    if (const absl::Duration blocked = limiter_.Blocked(peer); blocked > absl::ZeroDuration()) {
      return RetryAfter(WithReason(absl::ResourceExhaustedError("too many invalid API keys"),
                                   "TOO_MANY_INVALID_KEYS"),
                        blocked);
    }
  }
  absl::StatusOr<Caller> caller = Check(key, hash);
  absl::MutexLock lock(&mutex_);
  if (caller.ok()) {
    if (good_hashes_.size() >= kMaxGoodHashes) good_hashes_.clear();
    good_hashes_.insert(hash);
  } else if (absl::IsUnauthenticated(caller.status())) {
    good_hashes_.erase(hash);
    limiter_.RecordFailure(peer);
  }
  return caller;
}

bool Authenticator::IsKnownWorker(std::string_view authorization) {
  const std::string_view key = KeyOf(authorization);
  const absl::StatusOr<KeyRole> role = ParseApiKey(key);
  if (!role.ok() || *role != KeyRole::kWorker) return false;
  const std::string hash = ApiKeyHash(key);
  absl::MutexLock lock(&mutex_);
  return good_hashes_.contains(hash);
}

absl::StatusOr<Caller> Authenticator::Check(std::string_view key, const std::string& hash) {
  absl::StatusOr<ApiKeyRecord> record = tenants_.FindApiKey(hash);
  if (absl::IsNotFound(record.status())) return NotValid();
  WT_RETURN_IF_ERROR(record.status());
  WT_ASSIGN_OR_RETURN(const KeyRole role, ParseApiKey(key));
  if (!ConstantTimeEquals(record->secret_sha256, hash) || record->revoked() ||
      record->role != role) {
    return NotValid();
  }
  return Caller{record->id, record->tenant, record->role};
}

}  // namespace wardtune
