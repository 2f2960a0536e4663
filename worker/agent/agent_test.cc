#include "worker/agent/agent.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <numeric>

#include "base/sha256.h"
#include "base/status_matchers.h"
#include "formats/tar_archive.h"
#include "worker/agent/adapter_export.h"
#include "worker/agent/testing/agent_fixture.h"
#include "worker/agent/testing/await.h"

namespace wardtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::wardtune::testing::AgentTest;
using ::wardtune::testing::Artifact;
using ::wardtune::testing::Await;
using ::wardtune::testing::Inputs;
using ::wardtune::testing::IsOk;
using ::wardtune::testing::kSecretRow;
using ::wardtune::testing::kVersion;
using ::wardtune::testing::ScriptedServer;
using ::wardtune::testing::StatusIs;

TEST_F(AgentTest, SaysThatThereWasNoWork) {
  WT_ASSERT_OK_AND_ASSIGN(const bool worked, agent_->RunOne(absl::ZeroDuration()));
  EXPECT_FALSE(worked);
  EXPECT_EQ(server_.authorization(), "Bearer wt_test");
}

TEST_F(AgentTest, TrainsAVectorAndHandsItBackSealed) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  EXPECT_EQ(vector_result_.artifact_sha256(), Sha256Hex(sealed_));
  WT_ASSERT_OK_AND_ASSIGN(const auto base, models_->Load("baseModels/tiny", base_sha256_));
  const SecurityVectorIdentity identity = {
      .version = kVersion, .sha256 = vector_result_.plain_sha256(), .base_sha256 = base_sha256_};
  WT_ASSERT_OK_AND_ASSIGN(const SecurityVector vector,
                          OpenSecurityVector(keys_, identity, base->model.config(), sealed_));
  EXPECT_GT(vector.canaries.separation, 0.0);
  EXPECT_THAT(vector_result_.categories(), ::testing::ElementsAre("privacy", "safety"));
  EXPECT_EQ(vector_result_.card().vector_on().categories().rbegin()->prompts(), 4);
  EXPECT_EQ(vector_result_.card().vector_off().categories().rbegin()->prompts(), 4);
  EXPECT_EQ(vector_result_.card().general_on().prompts(), 4);
  EXPECT_GT(vector_result_.card().general_kl(), 0.0);
  // Checkpoints hold the vector as it stands and are sealed too.
  EXPECT_GT(server_.uploads(Artifact::KIND_CHECKPOINT), 0);
  EXPECT_THAT(server_.artifact(Artifact::KIND_CHECKPOINT), Not(HasSubstr("lora_A")));
  EXPECT_THAT(sealed_, Not(HasSubstr("lora_A")));
}

TEST_F(AgentTest, OpensWithAnOlderKeyAndSealsWithThePrimary) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  const std::string checkpoint = server_.artifact(Artifact::KIND_CHECKPOINT);
  keys_ = SealingKeys(Key('d'), {Key('c')});
  NewAgent();
  ASSERT_NO_FATAL_FAILURE(RunJob(JobLease(1), JobInputs()));
  EXPECT_TRUE(server_.completed()->has_fine_tuning()) << log_text_.str();

  // A training whose checkpoint an older key sealed goes on from there.
  Inputs inputs = VectorInputs("placeholder plan");
  inputs[v1::WorkInput::KIND_CHECKPOINT] = checkpoint;
  ASSERT_NO_FATAL_FAILURE(RunJob(VectorLease(kVersion), inputs));
  EXPECT_THAT(log_text_.str(), HasSubstr("\"event\": \"resumed\""));
  EXPECT_THAT(log_text_.str(), Not(HasSubstr("checkpoint_unusable")));
  WT_EXPECT_OK(
      OpenSealed(Key('d'), kVersion, server_.artifact(Artifact::KIND_SECURITY_VECTOR)).status());
}

TEST_F(AgentTest, RunsAJobToAnAdapterWithProof) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  ASSERT_NO_FATAL_FAILURE(RunJob(JobLease(1), JobInputs()));
  ASSERT_TRUE(server_.completed().has_value()) << log_text_.str();
  const v1::FineTuningResult result = server_.completed()->fine_tuning();
  const std::string tar = server_.artifact(Artifact::KIND_ADAPTER);
  EXPECT_EQ(result.adapter_sha256(), Sha256Hex(tar));
  EXPECT_EQ(result.progress().step(), 12);
  EXPECT_EQ(result.progress().total_steps(), 12);
  EXPECT_EQ(result.safety_before().categories().rbegin()->category(), "all");
  EXPECT_EQ(result.safety_after().categories().rbegin()->prompts(), 4);

  const v1::ProtectionProof& proof = result.proof();
  EXPECT_EQ(proof.security_vector_version(), kVersion);
  EXPECT_EQ(proof.security_vector_sha256(), vector_result_.plain_sha256());
  EXPECT_EQ(proof.base_sha256(), base_sha256_);
  WT_ASSERT_OK_AND_ASSIGN(const auto base, models_->Load("baseModels/tiny", base_sha256_));
  EXPECT_EQ(proof.base_weights_sha256(), base->model.WeightsDigest());
  EXPECT_EQ(proof.scored_base_sha256(), proof.base_weights_sha256());
  EXPECT_THAT(proof.folded_sha256(), SizeIs(64));
  EXPECT_NE(proof.folded_sha256(), proof.base_weights_sha256());
  EXPECT_GE(proof.canary_checks(), 5);  // before, at three checkpoints, after
  EXPECT_LE(proof.canary_max_abs_diff(), proof.canary_tolerance());
  EXPECT_LE(proof.strip_max_cosine(), 0.5);

  WT_ASSERT_OK_AND_ASSIGN(const FileSet adapter_files, ReadTar(tar));
  WT_ASSERT_OK_AND_ASSIGN(const PeftAdapter peft, ParsePeftAdapter(adapter_files));
  WT_ASSERT_OK_AND_ASSIGN(const LoraAdapter adapter, FromPeftAdapter(peft, base->model.config()));
  EXPECT_EQ(AdapterDigest(adapter), proof.adapter_sha256());
  EXPECT_THAT(log_text_.str(), Not(HasSubstr(kSecretRow)));
}

// 2 of 6 rows are held out; 4 are trained, 2 a step.
v1::Lease WithValidation(v1::Lease lease) {
  v1::Hyperparameters& parameters = *lease.mutable_fine_tuning()->mutable_hyperparameters();
  parameters.set_validation_fraction(0.34);
  parameters.set_validation_steps(1);
  return lease;
}

TEST_F(AgentTest, DeliversTheAdapterThatIsBestOnHeldOutRows) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  ASSERT_NO_FATAL_FAILURE(RunJob(WithValidation(JobLease(1)), JobInputs()));
  ASSERT_TRUE(server_.completed().has_value()) << log_text_.str();
  const v1::Progress progress = server_.completed()->fine_tuning().progress();
  EXPECT_EQ(progress.total_steps(), 8);
  EXPECT_GT(progress.best_validation_loss(), 0.0);
  EXPECT_GE(progress.best_step(), 1);
  WT_ASSERT_OK_AND_ASSIGN(const FileSet files, ReadTar(server_.artifact(Artifact::KIND_ADAPTER)));
  EXPECT_THAT(files.at("README.md"),
              HasSubstr(absl::StrCat("Delivered step | ", progress.best_step())));
}

TEST_F(AgentTest, DeliversTheFirstCheckpointThatPassesTheGate) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  server_.Quarantine(1);
  ASSERT_NO_FATAL_FAILURE(RunJob(WithValidation(JobLease(1)), JobInputs()));
  ASSERT_TRUE(server_.completed().has_value()) << log_text_.str();
  const v1::FineTuningResult result = server_.completed()->fine_tuning();
  ASSERT_EQ(result.checkpoints_size(), 3) << "what comes after the first that passes is scored too";
  for (const v1::CheckpointScore& checkpoint : result.checkpoints()) {
    EXPECT_EQ(checkpoint.safety().suite_sha256(), result.safety_before().suite_sha256());
    EXPECT_EQ(checkpoint.safety().categories_size(), 3);
    EXPECT_NE(checkpoint.gate(), v1::SafetyGate::STATE_UNSPECIFIED);
  }
  EXPECT_FALSE(result.checkpoints(2).delivered());
  EXPECT_EQ(result.checkpoints(0).gate(), v1::SafetyGate::STATE_QUARANTINED);
  EXPECT_FALSE(result.checkpoints(0).delivered());
  EXPECT_TRUE(result.checkpoints(1).delivered());
  EXPECT_LE(result.checkpoints(0).validation_loss(), result.checkpoints(1).validation_loss());
  EXPECT_EQ(result.checkpoints(1).safety().SerializeAsString(),
            result.safety_after().SerializeAsString());
  EXPECT_EQ(result.progress().best_step(), result.checkpoints(1).step());
  const std::string second = result.proof().adapter_sha256();

  // The lease says how many are kept.
  v1::Lease lease = WithValidation(JobLease(1));
  lease.mutable_fine_tuning()->set_scored_checkpoints(5);
  ASSERT_NO_FATAL_FAILURE(RunJob(lease, JobInputs()));
  ASSERT_TRUE(server_.completed().has_value()) << log_text_.str();
  EXPECT_EQ(server_.completed()->fine_tuning().checkpoints_size(), 5);
  EXPECT_TRUE(server_.completed()->fine_tuning().checkpoints(0).delivered());
  EXPECT_NE(server_.completed()->fine_tuning().proof().adapter_sha256(), second);
  lease.mutable_fine_tuning()->set_scored_checkpoints(1);
  ASSERT_NO_FATAL_FAILURE(RunJob(lease, JobInputs()));
  ASSERT_TRUE(server_.completed().has_value()) << log_text_.str();
  EXPECT_EQ(server_.completed()->fine_tuning().checkpoints_size(), 0) << "nothing to choose";
}

TEST_F(AgentTest, DeliversTheLowestLossWhereNoCheckpointPasses) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  server_.Quarantine(3);
  ASSERT_NO_FATAL_FAILURE(RunJob(WithValidation(JobLease(1)), JobInputs()));
  ASSERT_TRUE(server_.completed().has_value()) << log_text_.str();
  const v1::FineTuningResult result = server_.completed()->fine_tuning();
  ASSERT_EQ(result.checkpoints_size(), 3);
  EXPECT_TRUE(result.checkpoints(0).delivered());
}

TEST_F(AgentTest, ResumesToTheSameBytes) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  ASSERT_NO_FATAL_FAILURE(RunJob(JobLease(1), JobInputs()));
  const std::string uninterrupted = server_.artifact(Artifact::KIND_ADAPTER);
  ASSERT_THAT(uninterrupted, Not(IsEmpty()));

  // The process is told to stop while the second checkpoint is on its way.
  server_.Offer(JobLease(2), JobInputs());
  int checkpoints = 0;
  server_.OnUpload([&](const Artifact::Header&) {
    if (++checkpoints == 2) agent_->Stop();
    return grpc::Status::OK;
  });
  ASSERT_NO_FATAL_FAILURE(RunOffered());
  ExpectFailure("WORKER_STOPPING", /*retryable=*/true);
  Inputs inputs = JobInputs();
  inputs[v1::WorkInput::KIND_CHECKPOINT] = server_.artifact(Artifact::KIND_CHECKPOINT);

  WorkerClient client({.server = server_.address(), .worker_id = "worker-2"}, clock_);
  Agent second(client, *environment_, log_, clock_);
  server_.Offer(JobLease(3), inputs);
  WT_ASSERT_OK(second.RunOne(absl::Seconds(1)));
  EXPECT_THAT(log_text_.str(), HasSubstr("\"event\": \"resumed\""));
  EXPECT_EQ(server_.artifact(Artifact::KIND_ADAPTER), uninterrupted);

  // A damaged checkpoint costs time only.
  inputs[v1::WorkInput::KIND_CHECKPOINT].resize(100);
  server_.Offer(JobLease(4), inputs);
  WT_ASSERT_OK(second.RunOne(absl::Seconds(1)));
  EXPECT_THAT(log_text_.str(), HasSubstr("checkpoint_unusable"));
  EXPECT_EQ(server_.artifact(Artifact::KIND_ADAPTER), uninterrupted);
}

// Uploads that took longer than their interval came after every step.
TEST_F(AgentTest, UploadsOfCheckpointsTakeATenthOfTheTimeAtMost) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  environment_->checkpoints = {.every_steps = 1, .every = absl::InfiniteDuration()};
  ASSERT_NO_FATAL_FAILURE(RunJob(JobLease(1), JobInputs()));
  EXPECT_EQ(server_.uploads(Artifact::KIND_CHECKPOINT), 11) << "all of 12 steps but the last";

  FakeClock clock;  // stands still but for the uploads
  Agent agent(client_, *environment_, log_, clock);
  server_.Offer(JobLease(2), JobInputs());
  server_.OnUpload([&](const Artifact::Header&) {
    clock.Advance(absl::Minutes(1));
    return grpc::Status::OK;
  });
  WT_ASSERT_OK(agent.RunOne(absl::Seconds(1)));
  EXPECT_TRUE(server_.completed().has_value()) << log_text_.str();
  EXPECT_EQ(server_.uploads(Artifact::KIND_CHECKPOINT), 1);
}

// It counted as one of the job's attempts.
TEST_F(AgentTest, AStopCostsNoAttemptWhileTheServerIsAway) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  server_.Offer(JobLease(1), JobInputs());
  server_.OnUpload([&](const Artifact::Header&) {
    agent_->Stop();
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "away");
  });
  ASSERT_NO_FATAL_FAILURE(RunOffered());
  ExpectFailure("WORKER_STOPPING", /*retryable=*/true);
}

// The upload was tried again for as long as the server was away.
TEST_F(AgentTest, ACancelEndsAnUploadThatIsTriedAgain) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  server_.Offer(JobLease(1), JobInputs());
  server_.OnUpload([&](const Artifact::Header&) {
    server_.Cancel();
    server_.AwaitHeartbeat();
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "away");
  });
  ASSERT_NO_FATAL_FAILURE(RunOffered());
  ASSERT_THAT(server_.failures(), SizeIs(1));
  EXPECT_TRUE(server_.failures()[0].cancelled());
}

TEST_F(AgentTest, StopsWhenTheCustomerCancels) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  server_.Offer(JobLease(1), JobInputs());
  server_.OnUpload([&](const Artifact::Header&) {
    server_.Cancel();
    server_.AwaitHeartbeat();
    return grpc::Status::OK;
  });
  ASSERT_NO_FATAL_FAILURE(RunOffered());
  EXPECT_FALSE(server_.completed().has_value());
  EXPECT_EQ(server_.uploads(Artifact::KIND_ADAPTER), 0);
  ASSERT_THAT(server_.failures(), SizeIs(1));
  EXPECT_TRUE(server_.failures()[0].cancelled());
  EXPECT_EQ(server_.last_heartbeat().phase(), v1::FineTuningJob::PHASE_TRAINING);
  EXPECT_EQ(server_.last_heartbeat().progress().step(), 3);
}

TEST_F(AgentTest, SaysNothingMoreOnceTheLeaseIsLost) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  server_.Offer(JobLease(1), JobInputs());
  server_.OnUpload([](const Artifact::Header&) { return ScriptedServer::LeaseLost(); });
  ASSERT_NO_FATAL_FAILURE(RunOffered());
  EXPECT_FALSE(server_.completed().has_value());
  EXPECT_THAT(server_.failures(), IsEmpty());
  EXPECT_EQ(server_.uploads(Artifact::KIND_ADAPTER), 0);
  EXPECT_THAT(log_text_.str(), HasSubstr("lease_lost"));
}

TEST_F(AgentTest, GoesOnFetchingWhereAStreamBroke) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  server_.BreakNextFetch();
  ASSERT_NO_FATAL_FAILURE(RunJob(JobLease(1), JobInputs()));
  EXPECT_TRUE(server_.completed().has_value()) << log_text_.str();
}

TEST_F(AgentTest, WaitsForABusyServer) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  server_.Offer(JobLease(1), JobInputs());
  int calls = 0;
  server_.OnUpload([&](const Artifact::Header&) {
    switch (++calls) {
      case 1:
        return ScriptedServer::Error(grpc::StatusCode::RESOURCE_EXHAUSTED, "SERVER_BUSY");
      case 2:
        return ScriptedServer::Error(grpc::StatusCode::ABORTED, "UPLOAD_IN_PROGRESS");
      default:
        return grpc::Status::OK;
    }
  });
  FakeClock clock;  // the pauses between the tries
  WorkerClient client({.server = server_.address(), .worker_id = "worker-1"}, clock);
  Agent agent(client, *environment_, log_, clock_);
  WT_ASSERT_OK(agent.RunOne(absl::Seconds(1)));
  EXPECT_TRUE(server_.completed().has_value()) << log_text_.str();
}

TEST_F(AgentTest, DoesNotCallARefusalOutOfMemory) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  server_.Offer(JobLease(1), JobInputs());
  server_.OnUpload([&](const Artifact::Header&) {
    return ScriptedServer::Error(grpc::StatusCode::RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED");
  });
  ASSERT_NO_FATAL_FAILURE(RunOffered());
  ExpectFailure("WORKER_FAILED", /*retryable=*/true);
}

// It was found at the first score after training, and every attempt trained anew.
TEST_F(AgentTest, APromptThatDoesNotFitTheModelIsToldBeforeTraining) {
  for (const v1::WorkInput::Kind kind :
       {v1::WorkInput::KIND_SUITE_PROMPTS, v1::WorkInput::KIND_SUITE_GENERAL_PROMPTS}) {
    Inputs inputs = VectorInputs("placeholder plan");
    inputs[kind] = testing::Suite(std::string(4096, 'p'));
    ASSERT_NO_FATAL_FAILURE(RunJob(VectorLease(kVersion), inputs));
    ExpectFailure("INPUT_INVALID", /*retryable=*/false);
    ASSERT_THAT(server_.failures(), SizeIs(1));
    EXPECT_THAT(server_.failures()[0].error_message(), HasSubstr("prompt 1 of 4"));
  }
}

TEST_F(AgentTest, StandsBackFromJobsThatItIsNotSetUpFor) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  FakeClock clock;
  Agent agent(client_, *environment_, log_, clock);
  v1::Lease unfit = JobLease(1);
  unfit.set_base_sha256(std::string(64, '0'));
  const auto waited = [&](const v1::Lease& lease) {
    server_.Offer(lease, JobInputs());
    const absl::Duration before = clock.Monotonic();
    WT_EXPECT_OK(agent.RunOne(absl::Seconds(1)));
    return clock.Monotonic() - before;
  };
  EXPECT_EQ(waited(unfit), absl::ZeroDuration());
  EXPECT_EQ(waited(unfit), absl::Seconds(5));
  EXPECT_EQ(waited(JobLease(2)), absl::Seconds(10));
  EXPECT_TRUE(server_.completed().has_value()) << log_text_.str();
  EXPECT_EQ(waited(JobLease(3)), absl::ZeroDuration());
}

TEST_F(AgentTest, ReadsAFolderThatWasReplacedOnceMore) {
  WT_ASSERT_OK(models_->Load("baseModels/tiny", base_sha256_));
  const std::string file = models_dir_ + "/tiny/tokenizer_config.json";
  WT_ASSERT_OK_AND_ASSIGN(const std::string text, files_.ReadFile(file));
  WT_ASSERT_OK(files_.WriteFileAtomically(file, text + "\n"));
  WT_ASSERT_OK_AND_ASSIGN(const std::string digest,
                          ModelFolderDigest(files_, models_dir_ + "/tiny"));
  ASSERT_NE(digest, base_sha256_);
  WT_ASSERT_OK_AND_ASSIGN(const auto base, models_->Load("baseModels/tiny", digest));
  EXPECT_EQ(base->folder_sha256, digest);
}

TEST_F(AgentTest, EndsWhenTheLossIsNotFinite) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  v1::Lease lease = JobLease(1);
  lease.mutable_fine_tuning()->mutable_hyperparameters()->set_learning_rate(1.0);
  lease.mutable_fine_tuning()->mutable_hyperparameters()->set_lora_alpha(1e38);
  ASSERT_NO_FATAL_FAILURE(RunJob(lease, JobInputs()));
  ExpectFailure("LOSS_NOT_FINITE", /*retryable=*/false);
  EXPECT_THAT(server_.failures()[0].error_message(), HasSubstr("step"));
}

TEST_F(AgentTest, LeavesAnotherBaseModelToAnotherWorker) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  v1::Lease lease = JobLease(1);
  lease.set_base_sha256(std::string(64, '0'));
  ASSERT_NO_FATAL_FAILURE(RunJob(lease, JobInputs()));
  ExpectFailure("BASE_MODEL_MISMATCH", /*retryable=*/true);
}

TEST_F(AgentTest, OutlivesAServerThatStops) {
  server_.BreakNextLease(grpc::StatusCode::CANCELLED);
  v1::Lease lease = Lease(1);
  lease.mutable_audit();
  server_.Offer(lease, {{v1::WorkInput::KIND_ADAPTER, "no tar file"}});
  auto run = std::async(std::launch::async, [&] { return agent_->Run(); });
  EXPECT_TRUE(server_.AwaitFailure());
  agent_->Stop();
  EXPECT_THAT(run.get(), IsOk());
}

TEST_F(AgentTest, LeasesJobsOfOneBaseModelSideBySide) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  const std::string other = models_dir_ + "/other";
  WT_ASSERT_OK(files_.CreateFolders(other));
  WT_ASSERT_OK(files_.WriteFileAtomically(other + "/config.json", "{}"));
  const size_t asked_before = server_.lease_requests().size();

  server_.Offer(JobLease(1), JobInputs());
  // The job waits in mid-training until the other loop has asked for work.
  environment_->jobs_at_once = 2;
  server_.OnUpload([&](const Artifact::Header&) {
    Await([&] { return server_.lease_requests().size() >= asked_before + 2; });
    agent_->Stop();
    return grpc::Status::OK;
  });
  WT_EXPECT_OK(agent_->Run());
  files_.RemoveTree(other).IgnoreError();

  const auto asked = server_.lease_requests();
  ASSERT_GE(asked.size(), asked_before + 2);
  EXPECT_THAT(asked[asked_before], ElementsAre("baseModels/other", "baseModels/tiny"));
  EXPECT_THAT(asked[asked_before + 1], ElementsAre("baseModels/tiny"));
  ExpectFailure("WORKER_STOPPING", /*retryable=*/true);
}

class SideBySideTest : public AgentTest {
 protected:
  // Two jobs that are leased before either computes.
  std::future<absl::Status> StartTwo() {
    environment_->jobs_at_once = 2;
    std::future<absl::Status> run;
    const ComputeTurns::Turn until_both_are_leased(turns_);
    for (int i = 1; i <= 2; ++i) {
      v1::Lease lease = JobLease(1);
      lease.set_work(absl::StrCat("jobs/", i));
      server_.Offer(lease, JobInputs());
      if (i == 1) run = std::async(std::launch::async, [&] { return agent_->Run(); });
      Await([&] { return turns_.waiting() == static_cast<size_t>(i); });
    }
    return run;
  }
};

TEST_F(SideBySideTest, TheyTrainInOneStep) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  std::future<absl::Status> run = StartTwo();
  Await([&] { return server_.completions() == 2 || !server_.failures().empty(); });
  agent_->Stop();
  WT_EXPECT_OK(run.get());
  EXPECT_THAT(server_.failures(), IsEmpty());
  EXPECT_THAT(jobs_in_step_, ::testing::Contains(2)) << log_text_.str();
  EXPECT_EQ(std::accumulate(jobs_in_step_.begin(), jobs_in_step_.end(), size_t{0}), 2 * 12);
}

// While it was tried again no other job computed.
TEST_F(SideBySideTest, AResultThatCannotBeDeliveredYetKeepsNoOtherFromItsTurn) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  std::atomic<bool> other_ended = false;
  absl::Mutex mutex;
  std::string first;
  server_.OnComplete([&](const v1::CompleteJobRequest& result) {
    absl::MutexLock lock(&mutex);
    if (first.empty()) first = result.work();
    if (result.work() != first) other_ended = true;
    return other_ended ? grpc::Status::OK : grpc::Status(grpc::StatusCode::UNAVAILABLE, "away");
  });
  std::future<absl::Status> run = StartTwo();
  Await([&] { return server_.completions() == 2 || !server_.failures().empty(); });
  agent_->Stop();
  WT_EXPECT_OK(run.get());
  EXPECT_THAT(server_.failures(), IsEmpty());
}

// A loop that waited beside one whose job failed was given that job's next attempt at once.
TEST_F(AgentTest, NoLoopWaitsForWhatAnotherIsNotSetUpFor) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  environment_->jobs_at_once = 2;
  v1::Lease unfit = JobLease(1);
  unfit.set_base_sha256(std::string(64, '0'));
  server_.Offer(unfit, JobInputs());
  server_.OnFailure([&] {
    Await([&] { return server_.waiting_for_lease() == 0; });
    EXPECT_EQ(server_.interrupted_leases(), 1);
    agent_->Stop();
  });
  std::future<absl::Status> run;
  {
    const ComputeTurns::Turn until_the_other_loop_waits(turns_);
    run = std::async(std::launch::async, [&] { return agent_->Run(); });
    Await([&] { return turns_.waiting() == 1 && server_.waiting_for_lease() == 1; });
  }
  WT_EXPECT_OK(run.get());
  ExpectFailure("BASE_MODEL_MISMATCH", /*retryable=*/true);
}

TEST_F(AgentTest, EveryLoopEndsWhereTheKeyIsRefused) {
  environment_->jobs_at_once = 3;
  server_.BreakNextLease(grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_THAT(agent_->Run(), StatusIs(absl::StatusCode::kUnauthenticated));
}

TEST_F(AgentTest, AJobWaitsForTheMemoryThatOthersWerePromised) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  constexpr int64_t kMore = int64_t{1} << 50;  // than any machine has
  std::optional<MemoryShares::Share> neighbours = memory_.Promise(kMore, kMore);
  std::optional<MemoryShares::Job> neighbour(memory_);
  server_.Offer(JobLease(1), JobInputs());
  auto run = std::async(std::launch::async, [&] { return agent_->RunOne(absl::Seconds(1)); });
  Await([&] { return memory_.waiting() > 0; });
  {
    const ComputeTurns::Turn turn(turns_);
    neighbours.reset();
    neighbour.reset();
  }
  WT_EXPECT_OK(run.get());
  EXPECT_TRUE(server_.completed().has_value()) << log_text_.str();
  EXPECT_THAT(log_text_.str(), HasSubstr("waits_for_memory"));
}

}  // namespace
}  // namespace wardtune
