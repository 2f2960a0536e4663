#include "worker/agent/signal_watcher.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <utility>

namespace wardtune {
namespace {

sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  // Sent by Stop() to end the wait.
  sigaddset(&signals, SIGUSR2);
  return signals;
}

int BlockStopSignals() {
  const sigset_t signals = StopSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return 1;  // thread
}

}  // namespace

SignalWatcher::SignalWatcher() : thread_(BlockStopSignals(), 1) {}

SignalWatcher::~SignalWatcher() { Stop(); }

void SignalWatcher::Stop() {
  if (ending_.exchange(true)) return;
  kill(getpid(), SIGUSR2);
  thread_.Stop();
}

void SignalWatcher::Watch(absl::AnyInvocable<void()> on_signal) {
  const bool scheduled = thread_.Schedule([this, call = std::move(on_signal)]() mutable {
    const sigset_t signals = StopSignals();
    while (!ending_) {
      int signal = 0;
      if (sigwait(&signals, &signal) == 0 && signal != SIGUSR2) call();
    }
  });
  static_cast<void>(scheduled);  // The queue has room for the one piece of work there is.
}

}  // namespace wardtune
