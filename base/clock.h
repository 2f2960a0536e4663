// Time as a parameter: nothing outside clock.cc reads the system's clocks.
//
// Two clocks, because they answer different questions. Wall time stamps what people read and may
// jump; monotonic time measures leases and timeouts and never does.
// Thread safety: all methods may be called from any thread.
#ifndef WARDTUNE_BASE_CLOCK_H_
#define WARDTUNE_BASE_CLOCK_H_

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace wardtune {

class Clock {
 public:
  virtual ~Clock() = default;

  // Wall time, for create_time and friends. May go backwards.
  virtual absl::Time Now() = 0;

  // Time since an arbitrary origin that is fixed while the machine is up. Never goes backwards and
  // is comparable between processes of one boot, so a lease survives a restart of the server.
  virtual absl::Duration Monotonic() = 0;

  // Blocks the calling thread for `duration`.
  virtual void Sleep(absl::Duration duration) = 0;
};

// The machine's own clocks.
class SystemClock final : public Clock {
 public:
  absl::Time Now() override;
  absl::Duration Monotonic() override;
  void Sleep(absl::Duration duration) override;
};

// A clock that moves only when told, for tests. Sleep() advances it and returns at once.
class FakeClock final : public Clock {
 public:
  explicit FakeClock(absl::Time start = absl::FromUnixSeconds(1'750'000'000)) : now_(start) {}

  absl::Time Now() override;
  absl::Duration Monotonic() override;
  void Sleep(absl::Duration duration) override { Advance(duration); }

  // Moves both clocks forward.
  void Advance(absl::Duration duration);
  // Moves wall time alone, as an operator or NTP would.
  void JumpWallTime(absl::Duration duration);

 private:
  absl::Mutex mutex_;
  absl::Time now_ ABSL_GUARDED_BY(mutex_);
  absl::Duration monotonic_ ABSL_GUARDED_BY(mutex_) = absl::Seconds(1000);
};

}  // namespace wardtune

#endif  // WARDTUNE_BASE_CLOCK_H_
