#include "server/rpc/call_runner.h"

#include <sstream>

#include "absl/synchronization/notification.h"
#include "storage/store_fixture.h"

namespace wardtune {
namespace {

class CallRunnerTest : public testing::StoreFixture {
 protected:
  std::ostringstream out_;
  StructuredLog log_{out_, clock_};
  ServerMetrics metrics_{"test"};
  FailureLimiter limiter_{clock_, {}};
  Authenticator authenticator_{store_->tenants(), limiter_};
};

TEST_F(CallRunnerTest, CustomersCallsDoNotHoldUpWorkers) {
  absl::Notification release, worker_ran;
  CallRunner runner(authenticator_, log_, metrics_, clock_,
                    {.threads = 1, .worker_threads = 1, .queue_limit = 1});
  // One call keeps the thread busy, the next ones fill the queue.
  while (runner.Schedule(Access::kCustomer, [&] { release.WaitForNotification(); })) {
  }
  EXPECT_TRUE(runner.Schedule(Access::kWorker, [&] { worker_ran.Notify(); }));
  EXPECT_TRUE(worker_ran.WaitForNotificationWithTimeout(absl::Seconds(10)));
  release.Notify();
  runner.Stop();
}

TEST_F(CallRunnerTest, ABusyServerIsWorthAnotherTry) {
  EXPECT_THAT(CallRunner::Overloaded(), testing::StatusIs(absl::StatusCode::kUnavailable));
}

}  // namespace
}  // namespace wardtune
