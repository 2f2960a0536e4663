// Slows down who guesses API keys: after too many failures in a minute a peer is refused unread.
// Thread safety: all methods may be called from any thread.
#ifndef WARDTUNE_SERVER_RPC_FAILURE_LIMITER_H_
#define WARDTUNE_SERVER_RPC_FAILURE_LIMITER_H_

#include <string>
#include <unordered_map>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"

namespace wardtune {

class FailureLimiter {
 public:
  struct Options {
    int max_failures = 30;  // in one window
    absl::Duration window = absl::Minutes(1);
    size_t max_peers = 10'000;  // memory bound; past it everybody starts afresh
  };

  // `clock` must outlive the limiter.
  FailureLimiter(Clock& clock, Options options) : clock_(clock), options_(options) {}

  // How long `peer` must wait; zero when it may try.
  absl::Duration Blocked(const std::string& peer);
  void RecordFailure(const std::string& peer);

 private:
  struct Window {
    absl::Duration start;  // on the monotonic clock
    int failures = 0;
  };

  Clock& clock_;
  const Options options_;
  absl::Mutex mutex_;
  std::unordered_map<std::string, Window> windows_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_RPC_FAILURE_LIMITER_H_
