// The worker's calls: leases, the fence, and the proof that no result gets around.
#include <string>

#include "base/sha256.h"
#include "server/testing/server_fixture.h"

namespace wardtune {
namespace {

using testing::FailsWith;
using ::testing::HasSubstr;
using testing::Outcome;
using testing::Succeeds;
using v1::FineTuningJob;

constexpr auto kAdapter = v1::UploadArtifactRequest::KIND_ADAPTER;
constexpr auto kCheckpoint = v1::UploadArtifactRequest::KIND_CHECKPOINT;

class WorkerRpcsTest : public testing::ServerFixture {
 protected:
  WorkerRpcsTest() {
    StartServer();
    AddTenants();
    ActivateVector();
    job_ = AddJob(acme_key_);
  }

  Outcome Beat(const v1::Lease& lease, v1::HeartbeatResponse* response = nullptr) {
    v1::HeartbeatRequest request;
    request.set_work(lease.work());
    request.set_attempt(lease.attempt());
    request.set_phase(FineTuningJob::PHASE_TRAINING);
    v1::HeartbeatResponse ignored;
    return Call(&v1::WorkerService::Stub::Heartbeat, worker_key_, request,
                response == nullptr ? ignored : *response);
  }

  Outcome Fail(const v1::Lease& lease, bool cancelled) {
    v1::FailJobRequest request;
    request.set_work(lease.work());
    request.set_attempt(lease.attempt());
    request.set_cancelled(cancelled);
    if (!cancelled) request.set_error_code("WORKER_FAILED");
    v1::FailJobResponse response;
    return Call(&v1::WorkerService::Stub::FailJob, worker_key_, request, response);
  }

  void ExpectFenced(const v1::Lease& lease) {
    const auto lost = FailsWith(grpc::StatusCode::FAILED_PRECONDITION, "LEASE_LOST");
    EXPECT_THAT(Beat(lease), lost);
    EXPECT_THAT(UploadArtifact(lease, kCheckpoint, "stale"), lost);
    EXPECT_THAT(Complete(GoodResult(lease, "adapter")), lost);
    EXPECT_THAT(Fail(lease, false), lost);
  }

  FineTuningJob::State State() { return GetJob(acme_key_, job_).state(); }

  std::string job_;
};

TEST_F(WorkerRpcsTest, AGoodResultEndsTheJobAndMayBeRepeated) {
  const v1::Lease lease = DoWork("adapter");
  EXPECT_EQ(lease.work(), job_);
  const FineTuningJob job = GetJob(acme_key_, job_);
  EXPECT_EQ(job.state(), FineTuningJob::STATE_SUCCEEDED);
  EXPECT_EQ(job.proof().strip_max_cosine(), 0.1);
  EXPECT_THAT(Complete(GoodResult(lease, "adapter")), Succeeds());
  EXPECT_THAT(Complete(GoodResult(lease, "another")),
              FailsWith(grpc::StatusCode::FAILED_PRECONDITION, "LEASE_LOST"));
}

// The store knows the job by its id alone; the name's tenant must not lead around the proof.
TEST_F(WorkerRpcsTest, AnotherTenantsNameDoesNotGetAroundTheProof) {
  v1::Lease lease = LeaseWork();
  ASSERT_THAT(UploadArtifact(lease, kAdapter, "adapter"), Succeeds());
  const std::string id = lease.work().substr(lease.work().rfind('/') + 1);
  lease.set_work("tenants/rival/fineTuningJobs/" + id);
  v1::CompleteJobRequest unproven;
  unproven.set_work(lease.work());
  unproven.set_attempt(lease.attempt());
  unproven.mutable_fine_tuning()->set_adapter_sha256(Sha256Hex("adapter"));
  EXPECT_THAT(Complete(unproven), FailsWith(grpc::StatusCode::FAILED_PRECONDITION, "LEASE_LOST"));
  ExpectFenced(lease);
  EXPECT_EQ(State(), FineTuningJob::STATE_RUNNING);
}

TEST_F(WorkerRpcsTest, EachPartOfTheProofIsChecked) {
  const v1::Lease lease = LeaseWork();
  ASSERT_THAT(UploadArtifact(lease, kAdapter, "adapter"), Succeeds());
  const auto expect_refused = [&](auto change, const char* field) {
    v1::CompleteJobRequest request = GoodResult(lease, "adapter");
    change(*request.mutable_fine_tuning());
    const Outcome outcome = Complete(request);
    EXPECT_THAT(outcome, FailsWith(grpc::StatusCode::INVALID_ARGUMENT, "PROOF_REJECTED"));
    EXPECT_THAT(outcome.message, HasSubstr(field));
  };
  using Result = v1::FineTuningResult&;
  const std::string other = Sha256Hex("other");
  expect_refused([](Result r) { r.clear_proof(); }, "proof");
  expect_refused([](Result r) { r.mutable_proof()->set_security_vector_version("x"); },
                 "proof.security_vector_version");
  expect_refused([&](Result r) { r.mutable_proof()->set_security_vector_sha256(other); },
                 "proof.security_vector_sha256");
  expect_refused([&](Result r) { r.mutable_proof()->set_base_sha256(other); }, "proof.base_sha256");
  expect_refused(
      [&](Result r) { r.mutable_proof()->set_folded_sha256(r.proof().base_weights_sha256()); },
      "proof.folded_sha256");
  expect_refused([](Result r) { r.mutable_proof()->set_canary_checks(0); }, "proof.canary_checks");
  expect_refused([](Result r) { r.mutable_proof()->clear_guard_rows_sha256(); },
                 "proof.guard_rows_sha256");
  expect_refused([&](Result r) { r.mutable_proof()->set_guard_weights_sha256(other); },
                 "proof.guard_weights_sha256");
  expect_refused([](Result r) { r.mutable_proof()->set_canary_max_abs_diff(0.2); },
                 "proof.canary_max_abs_diff");
  expect_refused([](Result r) { r.mutable_proof()->set_canary_tolerance(5); },
                 "proof.canary_tolerance");
  expect_refused([](Result r) { r.mutable_proof()->set_strip_max_cosine(0.6); },
                 "proof.strip_max_cosine");
  expect_refused([&](Result r) { r.mutable_proof()->set_scored_base_sha256(other); },
                 "proof.scored_base_sha256");
  expect_refused([&](Result r) { r.mutable_safety_after()->set_suite_sha256(other); },
                 "safety_after");
  expect_refused([](Result r) { r.mutable_safety_before()->mutable_categories(0)->set_prompts(7); },
                 "safety_before");
  EXPECT_EQ(State(), FineTuningJob::STATE_RUNNING);
}

// A score of one prompt passed for one of the whole suite, and the gate let its adapter through.
TEST_F(WorkerRpcsTest, AScoreOfAPartOfTheSuiteIsNone) {
  const v1::Lease lease = LeaseWork();
  ASSERT_THAT(UploadArtifact(lease, kAdapter, "adapter"), Succeeds());
  const auto expect_refused = [&](auto change) {
    v1::CompleteJobRequest request = GoodResult(lease, "adapter");
    change(*request.mutable_fine_tuning()->mutable_safety_after());
    const Outcome outcome = Complete(request);
    EXPECT_THAT(outcome, FailsWith(grpc::StatusCode::INVALID_ARGUMENT, "PROOF_REJECTED"));
    EXPECT_THAT(outcome.message, HasSubstr("safety_after"));
  };
  using Report = v1::SafetyReport&;
  expect_refused([](Report r) {  // fewer prompts
    for (const int category : {0, 2}) {
      r.mutable_categories(category)->set_prompts(r.categories(category).prompts() - 9);
    }
  });
  expect_refused([](Report r) {  // a category left out
    r.mutable_categories()->DeleteSubrange(0, 1);
    r.mutable_categories(1)->set_prompts(10);
  });
  expect_refused([](Report r) {  // one twice, the other left out
    *r.mutable_categories(0) = r.categories(1);
  });
  expect_refused([](Report r) { r.mutable_categories(0)->set_category("other"); });
  EXPECT_THAT(Complete(GoodResult(lease, "adapter")), Succeeds());
}

TEST_F(WorkerRpcsTest, AStaleAttemptIsFencedAndTheNextOneGoesOn) {
  const v1::Lease stale = LeaseWork();
  ASSERT_THAT(UploadArtifact(stale, kCheckpoint, "state"), Succeeds());
  clock_.Advance(options_.limits.lease_duration);
  server_->RunDuties();
  ExpectFenced(stale);
  const v1::Lease lease = LeaseWork();
  EXPECT_EQ(lease.attempt(), 2);
  EXPECT_EQ(lease.inputs(lease.inputs_size() - 1).sha256(), Sha256Hex("state"));
  ExpectFenced(stale);
  EXPECT_THAT(Beat(lease), Succeeds());
}

TEST_F(WorkerRpcsTest, ALeaseOutlivesAServerThatWasAway) {
  const v1::Lease lease = LeaseWork();
  server_->Shutdown();
  clock_.Advance(2 * options_.limits.lease_duration);
  StartServer();
  server_->RunDuties();
  EXPECT_THAT(Beat(lease), Succeeds());
}

TEST_F(WorkerRpcsTest, ACancelReachesTheWorkerAndHolds) {
  const v1::Lease lease = LeaseWork();
  v1::CancelFineTuningJobRequest request;
  request.set_name(job_);
  v1::CancelFineTuningJobResponse response;
  ASSERT_THAT(Call(&v1::FineTuningService::Stub::CancelFineTuningJob, acme_key_, request, response),
              Succeeds());
  EXPECT_EQ(response.job().state(), FineTuningJob::STATE_CANCELLING);
  v1::HeartbeatResponse heartbeat;
  EXPECT_THAT(Beat(lease, &heartbeat), Succeeds());
  EXPECT_TRUE(heartbeat.cancel_requested());
  EXPECT_THAT(Fail(lease, true), Succeeds());
  EXPECT_EQ(State(), FineTuningJob::STATE_CANCELLED);
  EXPECT_THAT(Call(&v1::FineTuningService::Stub::CancelFineTuningJob, acme_key_, request, response),
              FailsWith(grpc::StatusCode::FAILED_PRECONDITION));
}

TEST_F(WorkerRpcsTest, ADownloadGoesOnFromAnyOffset) {
  std::string adapter(3 << 20, 'a');
  adapter[2 << 20] = 'b';
  DoWork(adapter);
  v1::DownloadAdapterRequest request;
  request.set_name(GetJob(acme_key_, job_).adapter());
  const auto download = [&](int64_t offset, std::string& bytes) {
    request.set_offset(offset);
    testing::CallContext context(acme_key_);
    const auto stub = StubOf<v1::AdapterService>();
    const auto reader = stub->DownloadAdapter(&context, request);
    v1::DownloadAdapterResponse response;
    while (reader->Read(&response)) bytes += response.chunk();
    return testing::OutcomeOf(reader->Finish());
  };
  for (const int64_t offset : {0, 1, (2 << 20) + 5, 3 << 20}) {
    std::string bytes;
    EXPECT_THAT(download(offset, bytes), Succeeds());
    EXPECT_EQ(Sha256Hex(bytes), Sha256Hex(adapter.substr(static_cast<size_t>(offset))));
  }
  std::string none;
  EXPECT_THAT(download((3 << 20) + 1, none), FailsWith(grpc::StatusCode::OUT_OF_RANGE));
  EXPECT_THAT(download(-1, none), FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
  // A flipped bit on the disk never reaches a customer.
  const std::string sha256 = Sha256Hex(adapter);
  adapter[7] = 'x';
  WT_ASSERT_OK(files_.WriteFileAtomically(
      options_.data_dir + "/blobs/blobs/" + sha256.substr(0, 2) + "/" + sha256, adapter));
  EXPECT_THAT(download(0, none), FailsWith(grpc::StatusCode::DATA_LOSS, "STORED_BYTES_DAMAGED"));
  EXPECT_EQ(none, "");
}

}  // namespace
}  // namespace wardtune
