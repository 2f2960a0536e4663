// SIGTERM and SIGINT as a call on an ordinary thread.
// Thread safety: construct before any other thread starts, so that all inherit the signal mask.
#ifndef WARDTUNE_WORKER_AGENT_SIGNAL_WATCHER_H_
#define WARDTUNE_WORKER_AGENT_SIGNAL_WATCHER_H_

#include <atomic>

#include "absl/functional/any_invocable.h"
#include "base/thread_pool.h"

namespace wardtune {

class SignalWatcher {
 public:
  // Blocks the signals in this thread; they wait until Watch().
  SignalWatcher();
  // Stop().
  ~SignalWatcher();

  // Calls `on_signal` at every signal from now on. REQUIRES: called once; what `on_signal` uses
  // lives until Stop() returns.
  void Watch(absl::AnyInvocable<void()> on_signal);

  // Stops watching, and waits for a call that is under way; the signals stay blocked.
  void Stop();

 private:
  std::atomic<bool> ending_ = false;
  ThreadPool thread_;
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_AGENT_SIGNAL_WATCHER_H_
