// Waits for what other threads do. For tests.
// Thread safety: re-entrant.
#ifndef WARDTUNE_WORKER_AGENT_TESTING_AWAIT_H_
#define WARDTUNE_WORKER_AGENT_TESTING_AWAIT_H_

#include <gtest/gtest.h>

#include <functional>

#include "base/clock.h"

namespace wardtune::testing {

// Polls, for a minute at most; the test fails where `what` has not become true by then.
inline void Await(const std::function<bool()>& what) {
  SystemClock clock;
  const absl::Duration patience = clock.Monotonic() + absl::Minutes(1);
  while (!what()) {
    ASSERT_LT(clock.Monotonic(), patience);
    clock.Sleep(absl::Milliseconds(1));
  }
}

}  // namespace wardtune::testing

#endif  // WARDTUNE_WORKER_AGENT_TESTING_AWAIT_H_
