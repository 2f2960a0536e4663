#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>

#include "absl/synchronization/notification.h"

namespace wardtune {
namespace {

TEST(ThreadPoolTest, StopRunsWhatIsQueued) {
  std::atomic<int> done = 0;
  ThreadPool pool(2, 100);
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(pool.Schedule([&] { ++done; }));
  pool.Stop();
  EXPECT_EQ(done, 50);
}

TEST(ThreadPoolTest, RefusesWorkPastTheLimitAndAfterStop) {
  absl::Notification release, started;
  ThreadPool pool(1, 1);
  ASSERT_TRUE(pool.Schedule([&] {
    started.Notify();
    release.WaitForNotification();
  }));
  started.WaitForNotification();
  EXPECT_TRUE(pool.Schedule([] {}));
  EXPECT_FALSE(pool.Schedule([] {}));
  release.Notify();
  pool.Stop();
  EXPECT_FALSE(pool.Schedule([] {}));
}

TEST(PeriodicTaskTest, CallsUntilStopped) {
  std::atomic<int> calls = 0;
  absl::Notification third;
  PeriodicTask task(absl::Milliseconds(1), [&] {
    if (++calls == 3) third.Notify();
  });
  third.WaitForNotification();
  task.Stop();
  const int after_stop = calls;
  EXPECT_GE(after_stop, 3);
  EXPECT_EQ(calls, after_stop);
}

}  // namespace
}  // namespace wardtune
