// Calls that wait for something to happen: a watched job's next event, or work for a worker.
//
// Nobody blocks a thread: a waiter leaves a callback under a topic, and it runs once, when the
// topic is notified or the waiter's time is up, whichever comes first. Thread safety: all methods
// may be called from any thread. Callbacks run on the notifying or the ticking thread, without any
// lock held, and must not block.
#ifndef WARDTUNE_SERVER_RPC_WAIT_LIST_H_
#define WARDTUNE_SERVER_RPC_WAIT_LIST_H_

#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"

namespace wardtune {

class WaitList {
 public:
  // `clock` must outlive the list.
  explicit WaitList(Clock& clock) : clock_(clock) {}

  // How often `topic` was notified so far. A caller reads it before looking for what it waits for
  // and gives it to Wait(), so that a notification between the two is not missed.
  uint64_t Generation(const std::string& topic);

  // Runs `callback` once: at once when `topic` was notified since `generation`, else at its next
  // notification or at the first Tick() after `timeout`.
  void Wait(const std::string& topic, uint64_t generation, absl::Duration timeout,
            absl::AnyInvocable<void()> callback);

  // Wakes all who wait on `topic`.
  void Notify(const std::string& topic);

  // Wakes those whose time is up; to be called several times a second.
  void Tick();

  // Wakes everybody, now and from now on at once: the server is shutting down.
  void Close();

 private:
  struct Waiter {
    absl::Duration deadline;  // on the monotonic clock
    absl::AnyInvocable<void()> callback;
  };

  Clock& clock_;
  absl::Mutex mutex_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  // One counter for all topics: a topic nobody waits on needs no entry.
  uint64_t notifications_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, uint64_t> last_notified_ ABSL_GUARDED_BY(mutex_);
  std::multimap<std::string, Waiter> waiters_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_RPC_WAIT_LIST_H_
