// Turns an `authorization` header into a Caller.
//
// A malformed key or a wrong checksum costs no database read and counts for nothing. A peer that
// keeps sending well-formed keys that do not exist is refused for a while; keys that were good
// lately are exempt, so that a guesser cannot lock out its neighbours behind the same address.
// Thread safety: all methods may be called from any thread. Authenticate() blocks on the database.
#ifndef WARDTUNE_SERVER_RPC_AUTHENTICATOR_H_
#define WARDTUNE_SERVER_RPC_AUTHENTICATOR_H_

#include <set>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/rpc/caller.h"
#include "server/rpc/failure_limiter.h"
#include "storage/metadata_store.h"

namespace wardtune {

class Authenticator {
 public:
  // `tenants` and `limiter` must outlive the authenticator.
  Authenticator(TenantStore& tenants, FailureLimiter& limiter)
      : tenants_(tenants), limiter_(limiter) {}

  // Errors: UNAUTHENTICATED for a missing, malformed, unknown or revoked key; RESOURCE_EXHAUSTED
  // with RetryInfo for a peer that failed too often; those of the store.
  absl::StatusOr<Caller> Authenticate(std::string_view authorization, const std::string& peer);
  // Whether it is a worker's key that was good when it was last used. Reads nothing and never
  // replaces Authenticate: it tells whose calls may use what is kept for workers.
  bool IsKnownWorker(std::string_view authorization);

 private:
  absl::StatusOr<Caller> Check(std::string_view key, const std::string& hash);

  TenantStore& tenants_;
  FailureLimiter& limiter_;
  absl::Mutex mutex_;
  std::set<std::string> good_hashes_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_RPC_AUTHENTICATOR_H_
