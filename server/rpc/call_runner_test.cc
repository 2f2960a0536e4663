#include "server/rpc/call_runner.h"

#include <sstream>

#include "absl/synchronization/notification.h"
#include "server/api_key.h"
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

// Calls to workers' methods by anyone at all filled the pool that is kept for workers.
TEST_F(CallRunnerTest, OnlyKeysThatWereGoodForAWorkerAreKnown) {
  const auto add = [&](KeyRole role) {
    const std::string secret = MintApiKey(role);
    ApiKeyRecord key;
    key.tenant = kProviderTenant;
    key.role = role;
    key.secret_sha256 = ApiKeyHash(secret);
    WT_EXPECT_OK(store_->tenants().CreateApiKey(key));
    return "Bearer " + secret;
  };
  const std::string worker = add(KeyRole::kWorker);
  const std::string tenant = add(KeyRole::kTenant);
  const std::string minted = "Bearer " + MintApiKey(KeyRole::kWorker);
  EXPECT_FALSE(authenticator_.IsKnownWorker(worker)) << "not used yet";
  for (const std::string& key : {worker, tenant, minted}) {
    authenticator_.Authenticate(key, "peer").status().IgnoreError();
  }
  EXPECT_TRUE(authenticator_.IsKnownWorker(worker));
  for (const std::string& key : {tenant, minted, std::string("Bearer x"), std::string()}) {
    EXPECT_FALSE(authenticator_.IsKnownWorker(key)) << key;
  }
  const std::string id = store_->tenants().FindApiKey(ApiKeyHash(worker.substr(7))).value().id;
  WT_ASSERT_OK(store_->tenants().RevokeApiKey(kProviderTenant, id));
  EXPECT_FALSE(authenticator_.Authenticate(worker, "peer").ok());
  EXPECT_FALSE(authenticator_.IsKnownWorker(worker));
}

TEST_F(CallRunnerTest, ABusyServerIsWorthAnotherTry) {
  EXPECT_THAT(CallRunner::Overloaded(), testing::StatusIs(absl::StatusCode::kUnavailable));
}

}  // namespace
}  // namespace wardtune
