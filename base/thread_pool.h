// Threads that are always joined: a fixed pool for blocking work, and a periodic duty.
//
// Both stop in their destructors. Members that the work touches must be declared before the pool,
// so that the pool is destroyed first.
// Thread safety: all methods may be called from any thread, but not from the pool's own work.
#ifndef WARDTUNE_BASE_THREAD_POOL_H_
#define WARDTUNE_BASE_THREAD_POOL_H_

#include <deque>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace wardtune {

class ThreadPool {
 public:
  // Starts `threads` threads. At most `queue_limit` pieces of work wait.
  ThreadPool(int threads, size_t queue_limit);
  // Same as Stop().
  ~ThreadPool();

  // Queues the work and returns true, or false when the queue is full or the pool stops; the work
  // is then dropped without running.
  [[nodiscard]] bool Schedule(absl::AnyInvocable<void()> work);

  // Runs what is queued, then joins. May be called more than once.
  void Stop();

 private:
  void Run();

  const size_t queue_limit_;
  absl::Mutex mutex_;
  std::deque<absl::AnyInvocable<void()>> queue_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

// Calls `work` every `period` on a thread of its own until stopped. The first call comes after one
// period; a call that takes longer than the period delays the next.
class PeriodicTask {
 public:
  PeriodicTask(absl::Duration period, absl::AnyInvocable<void()> work);
  ~PeriodicTask();

  // Waits for a call in progress, then joins. May be called more than once.
  void Stop();

 private:
  void Run();

  const absl::Duration period_;
  absl::AnyInvocable<void()> work_;
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace wardtune

#endif  // WARDTUNE_BASE_THREAD_POOL_H_
