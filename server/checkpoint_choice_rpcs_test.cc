// The choice among a job's checkpoints: the worker asks what the gate would say, and tells in its
// result what it scored.
#include <functional>
#include <string>

#include "server/testing/server_fixture.h"

namespace wardtune {
namespace {

using testing::FailsWith;
using testing::Outcome;
using testing::Succeeds;
using v1::SafetyGate;

class CheckpointChoiceTest : public testing::ServerFixture {
 protected:
  CheckpointChoiceTest() {
    StartServer();
    AddTenants();
    ActivateVector();
    job_ = AddJob(acme_key_);
    lease_ = LeaseWork();
    EXPECT_THAT(UploadArtifact(lease_, v1::UploadArtifactRequest::KIND_ADAPTER, "adapter"),
                Succeeds());
    good_ = GoodResult(lease_, "adapter");
  }

  // The good result's score with `harmful` answers of `safety`.
  v1::SafetyReport Score(int32_t harmful) {
    v1::SafetyReport report = good_.fine_tuning().safety_after();
    SetHarmful(report, harmful);
    return report;
  }

  Outcome Judge(const v1::SafetyReport& after, const std::string& key, SafetyGate* gate = nullptr) {
    v1::JudgeScoresRequest request;
    request.set_work(lease_.work());
    request.set_attempt(lease_.attempt());
    *request.mutable_safety_before() = good_.fine_tuning().safety_before();
    *request.mutable_safety_after() = after;
    v1::JudgeScoresResponse response;
    const Outcome outcome = Call(&v1::WorkerService::Stub::JudgeScores, key, request, response);
    if (gate != nullptr) *gate = response.gate();
    return outcome;
  }

  // The good result with a checkpoint that failed the gate and the one that is delivered.
  v1::CompleteJobRequest WithCheckpoints() {
    v1::CompleteJobRequest request = good_;
    v1::FineTuningResult& result = *request.mutable_fine_tuning();
    for (const bool delivered : {false, true}) {
      v1::CheckpointScore& checkpoint = *result.add_checkpoints();
      checkpoint.set_step(delivered ? 4 : 8);
      checkpoint.set_validation_loss(delivered ? 0.5 : 0.4);
      *checkpoint.mutable_safety() = delivered ? result.safety_after() : Score(5);
      checkpoint.set_gate(delivered ? SafetyGate::STATE_AVAILABLE : SafetyGate::STATE_QUARANTINED);
      checkpoint.set_delivered(delivered);
    }
    return request;
  }

  void ExpectRejected(const std::function<void(v1::FineTuningResult&)>& change) {
    v1::CompleteJobRequest request = WithCheckpoints();
    change(*request.mutable_fine_tuning());
    EXPECT_THAT(Complete(request), FailsWith(grpc::StatusCode::INVALID_ARGUMENT, "PROOF_REJECTED"));
  }

  std::string job_;
  v1::Lease lease_;
  v1::CompleteJobRequest good_;
};

TEST_F(CheckpointChoiceTest, TheWorkerIsToldWhatTheGateWouldSay) {
  SafetyGate gate;
  ASSERT_THAT(Judge(Score(5), worker_key_, &gate), Succeeds());
  EXPECT_EQ(gate.state(), SafetyGate::STATE_QUARANTINED);
  ASSERT_THAT(Judge(Score(0), worker_key_, &gate), Succeeds());
  EXPECT_EQ(gate.state(), SafetyGate::STATE_AVAILABLE);
  EXPECT_THAT(Judge(Score(0), acme_key_), FailsWith(grpc::StatusCode::PERMISSION_DENIED));
  v1::SafetyReport other = Score(0);
  other.set_suite_sha256(std::string(64, '0'));
  EXPECT_THAT(Judge(other, worker_key_), FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
}

TEST_F(CheckpointChoiceTest, TheCustomerSeesWhatWasScored) {
  ASSERT_THAT(Complete(WithCheckpoints()), Succeeds());
  const v1::FineTuningJob job = GetJob(acme_key_, job_);
  ASSERT_EQ(job.checkpoints_size(), 2);
  EXPECT_EQ(job.checkpoints(0).gate(), SafetyGate::STATE_QUARANTINED);
  EXPECT_EQ(job.checkpoints(0).step(), 8);
  EXPECT_TRUE(job.checkpoints(1).delivered());
  EXPECT_EQ(job.gate().state(), SafetyGate::STATE_AVAILABLE);
}

TEST_F(CheckpointChoiceTest, TheDeliveredOnesScoreIsTheResults) {
  ExpectRejected([](auto& result) { result.mutable_checkpoints(1)->set_delivered(false); });
  ExpectRejected([](auto& result) { result.mutable_checkpoints(0)->set_delivered(true); });
  ExpectRejected(
      [this](auto& result) { *result.mutable_checkpoints(1)->mutable_safety() = Score(1); });
  ExpectRejected([](auto& result) { result.mutable_checkpoints(0)->clear_safety(); });
  ExpectRejected([](auto& result) {
    for (int i = 0; i < 8; ++i) *result.add_checkpoints() = result.checkpoints(0);
  });
}

}  // namespace
}  // namespace wardtune
