// A customer's calls about jobs: retries, quotas, lists and watching.
#include <chrono>
#include <future>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/testing/server_fixture.h"

namespace wardtune {
namespace {

using ::testing::ElementsAre;
using testing::FailsWith;
using ::testing::HasSubstr;
using testing::Outcome;
using testing::Succeeds;
using Jobs = v1::FineTuningService::Stub;

constexpr char kRequestId[] = "0a1b2c3d-0000-4000-8000-000000000001";

class JobRpcsTest : public testing::ServerFixture {
 protected:
  JobRpcsTest() {
    StartServer();
    AddTenants();
    ActivateVector();
  }

  Outcome Create(const v1::CreateFineTuningJobRequest& request, std::string* name = nullptr) {
    v1::CreateFineTuningJobResponse response;
    const Outcome outcome = Call(&Jobs::CreateFineTuningJob, acme_key_, request, response);
    if (name != nullptr) *name = response.job().name();
    return outcome;
  }

  v1::ListFineTuningJobsResponse List(const v1::ListFineTuningJobsRequest& request) {
    v1::ListFineTuningJobsResponse response;
    EXPECT_THAT(Call(&Jobs::ListFineTuningJobs, acme_key_, request, response), Succeeds());
    return response;
  }

  // A watch that a test reads event by event.
  struct Watch {
    Watch(JobRpcsTest& test, const std::string& job, int64_t after)
        : context(test.acme_key_), stub(test.StubOf<v1::FineTuningService>()) {
      v1::WatchFineTuningJobRequest request;
      request.set_name(job);
      request.set_after_sequence(after);
      reader = stub->WatchFineTuningJob(&context, request);
    }
    // The next event's sequence, or 0 at the end.
    int64_t Next() {
      v1::WatchFineTuningJobResponse response;
      return reader->Read(&response) ? response.event().sequence() : 0;
    }
    Outcome Finish() { return testing::OutcomeOf(reader->Finish()); }

    testing::CallContext context;
    std::unique_ptr<Jobs> stub;
    std::unique_ptr<grpc::ClientReader<v1::WatchFineTuningJobResponse>> reader;
  };
};

TEST_F(JobRpcsTest, ARetryGetsTheFirstAnswerAndAnotherBodyIsRefused) {
  v1::CreateFineTuningJobRequest request = JobRequest(AddReadyDataset(acme_key_));
  request.set_request_id(kRequestId);
  std::string first, second;
  ASSERT_THAT(Create(request, &first), Succeeds());
  ASSERT_THAT(Create(request, &second), Succeeds());
  EXPECT_EQ(first, second);
  EXPECT_EQ(List({}).jobs_size(), 1);
  request.set_display_name("another body");
  EXPECT_THAT(Create(request), FailsWith(grpc::StatusCode::ALREADY_EXISTS, "REQUEST_ID_REUSED"));
  request.set_request_id("not a uuid");
  EXPECT_THAT(Create(request), FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_EQ(List({}).jobs_size(), 1);
}

TEST_F(JobRpcsTest, ARetryIsAnsweredAfterItsDatasetIsGone) {
  v1::CreateFineTuningJobRequest request = JobRequest(AddReadyDataset(acme_key_));
  request.set_request_id(kRequestId);
  std::string first, second;
  ASSERT_THAT(Create(request, &first), Succeeds());
  v1::CancelFineTuningJobRequest cancel;
  cancel.set_name(first);
  v1::CancelFineTuningJobResponse cancelled;
  ASSERT_THAT(Call(&Jobs::CancelFineTuningJob, acme_key_, cancel, cancelled), Succeeds());
  EXPECT_EQ(cancelled.job().state(), v1::FineTuningJob::STATE_CANCELLED);
  v1::DeleteDatasetRequest remove;
  remove.set_name(request.dataset());
  v1::DeleteDatasetResponse removed;
  ASSERT_THAT(Call(&v1::DatasetService::Stub::DeleteDataset, acme_key_, remove, removed),
              Succeeds());
  EXPECT_THAT(Create(request, &second), Succeeds());
  EXPECT_EQ(first, second);
}

TEST_F(JobRpcsTest, ValidateOnlyEstimatesAndQueuesNothing) {
  v1::CreateFineTuningJobRequest request = JobRequest(AddReadyDataset(acme_key_));
  request.set_validate_only(true);
  v1::CreateFineTuningJobResponse response;
  ASSERT_THAT(Call(&Jobs::CreateFineTuningJob, acme_key_, request, response), Succeeds());
  EXPECT_EQ(response.job().name(), "");
  EXPECT_EQ(response.job().estimate().rows(), 1);
  EXPECT_FALSE(response.job().has_create_time()) << "a job that was not made, at no time";
  EXPECT_EQ(List({}).jobs_size(), 0);
}

TEST_F(JobRpcsTest, AnEstimateLooksForTheFirstUsableRow) {
  server_->Shutdown();
  options_.limits.max_estimate_bytes = 100;
  StartServer();
  v1::UploadDatasetRequest::Header header;
  header.set_name(AddDataset(acme_key_));
  // Valid, and nothing to learn from.
  const std::string idle =
      R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b","weight":0}]})";
  ASSERT_THAT(Upload(acme_key_, header, absl::StrCat(idle, "\n", idle, "\n", kRow)), Succeeds());
  EXPECT_THAT(Create(JobRequest(header.name())), Succeeds());

  // It read a whole gigabyte of them, as often as it was asked.
  server_->Shutdown();
  options_.limits.max_estimate_bytes = 1;
  StartServer();
  const Outcome outcome = Create(JobRequest(header.name()));
  EXPECT_THAT(outcome, FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(outcome.message, HasSubstr("none of the first rows keeps"));
}

TEST_F(JobRpcsTest, ATenantWithTooManyEstimatesIsToldToTryAgain) {
  server_->Shutdown();
  options_.limits.max_estimates_per_tenant = 0;
  StartServer();
  EXPECT_THAT(Create(JobRequest(AddReadyDataset(acme_key_))),
              FailsWith(grpc::StatusCode::UNAVAILABLE, "ESTIMATES_BUSY"));
}

TEST_F(JobRpcsTest, PastTheQuotaAJobIsRefusedNamingTheQuota) {
  const std::string dataset = AddReadyDataset(acme_key_);
  for (int i = 0; i < 10; ++i) ASSERT_THAT(Create(JobRequest(dataset)), Succeeds());
  const Outcome refused = Create(JobRequest(dataset));
  EXPECT_THAT(refused,
              FailsWith(grpc::StatusCode::RESOURCE_EXHAUSTED, "ACTIVE_JOBS_QUOTA_EXCEEDED"));
  EXPECT_THAT(refused.message, HasSubstr("quota"));
}

TEST_F(JobRpcsTest, PagesFollowEachOtherAndForgedTokensAreRefused) {
  std::vector<std::string> made;
  for (int i = 0; i < 3; ++i) made.push_back(AddJob(acme_key_));
  v1::ListFineTuningJobsRequest request;
  request.set_page_size(2);
  v1::ListFineTuningJobsResponse page = List(request);
  ASSERT_EQ(page.jobs_size(), 2);
  EXPECT_EQ(page.jobs(0).name(), made[2]);
  request.set_page_token(page.next_page_token());
  v1::ListFineTuningJobsResponse response;
  // The token is acme's alone.
  EXPECT_THAT(Call(&Jobs::ListFineTuningJobs, rival_key_, request, response),
              FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
  page = List(request);
  ASSERT_EQ(page.jobs_size(), 1);
  EXPECT_EQ(page.jobs(0).name(), made[0]);
  EXPECT_EQ(page.next_page_token(), "");
  request.set_page_token("forged");
  EXPECT_THAT(Call(&Jobs::ListFineTuningJobs, acme_key_, request, response),
              FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
}

TEST_F(JobRpcsTest, AWatchIsTakenUpWhereItBroke) {
  const std::string job = AddJob(acme_key_);
  Watch first(*this, job, 0);
  const int64_t queued = first.Next();
  first.context.TryCancel();
  EXPECT_THAT(first.Finish(), FailsWith(grpc::StatusCode::CANCELLED));
  DoWork("adapter");
  Watch second(*this, job, queued);
  std::vector<int64_t> rest;
  while (const int64_t sequence = second.Next()) rest.push_back(sequence);
  EXPECT_THAT(second.Finish(), Succeeds());
  EXPECT_THAT(rest, ElementsAre(queued + 1, queued + 2));  // running, succeeded
}

TEST_F(JobRpcsTest, AWatchOfMoreEventsThanOneReadGoesOnAtOnce) {
  const std::string job = AddJob(acme_key_);
  const v1::Lease lease = LeaseWork();
  v1::HeartbeatRequest beat;
  beat.set_work(lease.work());
  beat.set_attempt(lease.attempt());
  beat.set_phase(v1::FineTuningJob::PHASE_TRAINING);
  for (int step = 1; step <= 120; ++step) {
    beat.mutable_progress()->set_step(step);
    v1::HeartbeatResponse response;
    ASSERT_THAT(Call(&v1::WorkerService::Stub::Heartbeat, worker_key_, beat, response), Succeeds());
  }
  ASSERT_THAT(UploadArtifact(lease, v1::UploadArtifactRequest::KIND_ADAPTER, "adapter"),
              Succeeds());
  ASSERT_THAT(Complete(GoodResult(lease, "adapter")), Succeeds());
  Watch watch(*this, job, 0);  // the clock stands still: it waits for nothing
  int64_t events = 0;
  while (watch.Next() != 0) ++events;
  EXPECT_THAT(watch.Finish(), Succeeds());
  EXPECT_GT(events, 120);
}

TEST_F(JobRpcsTest, AWatchHearsOfTheEndAtOnce) {
  const std::string job = AddJob(acme_key_);
  Watch watch(*this, job, 0);
  EXPECT_EQ(watch.Next(), 1);
  const v1::Lease lease = DoWork("adapter");
  EXPECT_EQ(watch.Next(), 2);
  EXPECT_EQ(watch.Next(), 3);
  EXPECT_EQ(watch.Next(), 0);
  EXPECT_THAT(watch.Finish(), Succeeds());
}

TEST_F(JobRpcsTest, RevokingAKeyEndsItsOpenWatch) {
  const std::string job = AddJob(acme_key_);
  Watch watch(*this, job, 0);
  EXPECT_EQ(watch.Next(), 1);
  ASSERT_NO_FATAL_FAILURE(RevokeKeyOf("acme"));
  auto end = std::async(std::launch::async, [&] { return watch.Next(); });
  // The watch may not wait yet, so time passes until it does.
  while (end.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    clock_.Advance(absl::Seconds(1));
    server_->RunDuties();
  }
  EXPECT_EQ(end.get(), 0);
  EXPECT_THAT(watch.Finish(), FailsWith(grpc::StatusCode::UNAUTHENTICATED));
}

}  // namespace
}  // namespace wardtune
