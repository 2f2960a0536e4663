#include "server/rpc/wait_list.h"

#include <utility>

namespace wardtune {
namespace {

// Topics are job ids, so old counters must go. A waiter whose topic was forgotten in the moment
// between looking and waiting sleeps until its timeout, which is short.
constexpr size_t kMaxRememberedTopics = 4096;

}  // namespace

uint64_t WaitList::Generation(const std::string& topic) {
  absl::MutexLock lock(&mutex_);
  const auto found = last_notified_.find(topic);
  return found == last_notified_.end() ? 0 : found->second;
}

void WaitList::Wait(const std::string& topic, uint64_t generation, absl::Duration timeout,
                    absl::AnyInvocable<void()> callback) {
  {
    absl::MutexLock lock(&mutex_);
    const auto found = last_notified_.find(topic);
    const bool missed = found != last_notified_.end() && found->second > generation;
    if (!closed_ && !missed) {
      waiters_.emplace(topic, Waiter{clock_.Monotonic() + timeout, std::move(callback)});
      return;
    }
  }
  callback();
}

void WaitList::Notify(const std::string& topic) {
  std::vector<absl::AnyInvocable<void()>> ready;
  {
    absl::MutexLock lock(&mutex_);
    if (last_notified_.size() >= kMaxRememberedTopics) last_notified_.clear();
    last_notified_[topic] = ++notifications_;
    const auto [begin, end] = waiters_.equal_range(topic);
    for (auto it = begin; it != end; ++it) ready.push_back(std::move(it->second.callback));
    waiters_.erase(begin, end);
  }
  for (auto& callback : ready) callback();
}

void WaitList::Tick() {
  std::vector<absl::AnyInvocable<void()>> ready;
  {
    absl::MutexLock lock(&mutex_);
    const absl::Duration now = clock_.Monotonic();
    for (auto it = waiters_.begin(); it != waiters_.end();) {
      if (it->second.deadline > now) {
        ++it;
        continue;
      }
      ready.push_back(std::move(it->second.callback));
      it = waiters_.erase(it);
    }
  }
  for (auto& callback : ready) callback();
}

void WaitList::Close() {
  std::multimap<std::string, Waiter> ready;
  {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
    ready.swap(waiters_);
  }
  for (auto& [topic, waiter] : ready) waiter.callback();
}

}  // namespace wardtune
