#include "worker/agent/signal_watcher.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "absl/synchronization/notification.h"

namespace wardtune {
namespace {

// Takes a blocked signal that nobody has taken; 0 when there is none.
int TakePending(int signal) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  const timespec at_once = {};
  const int taken = sigtimedwait(&set, nullptr, &at_once);
  return taken == signal ? taken : 0;
}

// A process of its own, as every thread must be started with the signals blocked.
TEST(SignalWatcherTest, CallsUntilItIsStopped) {
  SignalWatcher signals;
  absl::Notification called;
  signals.Watch([&] { called.Notify(); });
  kill(getpid(), SIGTERM);
  called.WaitForNotification();

  signals.Stop();
  // Nobody takes the signal now: a second Notify() would end the test, too.
  kill(getpid(), SIGTERM);
  EXPECT_EQ(TakePending(SIGTERM), SIGTERM);
  signals.Stop();
}

}  // namespace
}  // namespace wardtune
