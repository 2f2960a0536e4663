#include "server/rpc/failure_limiter.h"

namespace wardtune {

absl::Duration FailureLimiter::Blocked(const std::string& peer) {
  absl::MutexLock lock(&mutex_);
  const auto found = windows_.find(peer);
  if (found == windows_.end() || found->second.failures < options_.max_failures) {
    return absl::ZeroDuration();
  }
  const absl::Duration left = found->second.start + options_.window - clock_.Monotonic();
  if (left > absl::ZeroDuration()) return left;
  windows_.erase(found);
  return absl::ZeroDuration();
}

void FailureLimiter::RecordFailure(const std::string& peer) {
  absl::MutexLock lock(&mutex_);
  if (windows_.size() >= options_.max_peers) windows_.clear();
  const absl::Duration now = clock_.Monotonic();
  Window& window = windows_.try_emplace(peer, Window{now, 0}).first->second;
  if (now - window.start >= options_.window) window = Window{now, 0};
  ++window.failures;
}

}  // namespace wardtune
