#include "worker/agent/agent.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_matchers.h"
#include "formats/folder_digest.h"
#include "formats/tar_archive.h"
#include "worker/agent/adapter_export.h"
#include "worker/agent/testing/byte_model.h"
#include "worker/agent/testing/scripted_server.h"
#include "worker/agent/training_settings.h"
#include "worker/security/security_vector.h"

namespace wardtune {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using Inputs = std::map<v1::WorkInput::Kind, std::string>;
using Artifact = v1::UploadArtifactRequest;

constexpr const char* kVersion = "securityVectors/tiny/versions/1";
constexpr const char* kSecretRow = "Carla-7781";  // stands for a customer's text

std::string Rows(const std::string& answer, int count) {
  std::string jsonl;
  for (int i = 0; i < count; ++i) {
    absl::StrAppend(&jsonl, "{\"prompt\": \"ask ", i, "\", \"completion\": \"", answer, "\"}\n");
  }
  return jsonl;
}

std::string Suite(const std::string& prefix) {
  std::string jsonl;
  for (int i = 0; i < 4; ++i) {
    absl::StrAppend(&jsonl, "{\"id\": \"", i, "\", \"category\": \"", i % 2 ? "safety" : "privacy",
                    "\", \"prompt\": \"", prefix, " ", i, "\"}\n");
  }
  return jsonl;
}

// One model folder for all tests; each test has its own server and agent.
class AgentTest : public ::testing::Test {
 protected:
  AgentTest()
      : models_dir_(absl::StrCat(::testing::TempDir(), "/agent_test_models_", getpid())),
        key_(*SealingKey::Parse(std::string(SealingKey::kBytes, 'k'))),
        log_(log_text_, clock_),
        client_({.server = server_.address(), .api_key = "wt_test", .worker_id = "worker-1"},
                clock_) {}

  void SetUp() override {
    if (!files_.Exists(models_dir_)) {
      ASSERT_NO_FATAL_FAILURE(testing::WriteByteModel(models_dir_));
    }
    WT_ASSERT_OK_AND_ASSIGN(base_sha256_, ModelFolderDigest(files_, models_dir_ + "/tiny"));
    models_.emplace(files_, models_dir_, DecoderOptions{.compute_type = ComputeType::kFloat32});
    NewAgent();
  }
  static void TearDownTestSuite() {
    PosixFileSystem files;
    files.RemoveTree(absl::StrCat(::testing::TempDir(), "/agent_test_models_", getpid()))
        .IgnoreError();
  }

  // As after a restart of the process.
  void NewAgent() {
    environment_ = std::make_unique<JobEnvironment>(
        JobEnvironment{.base_models = *models_,
                       .sealing_key = key_,
                       .base_scores = scores_,
                       .sampling = {.max_new_tokens = 4},
                       .checkpoints = {.every_steps = 3, .every = absl::InfiniteDuration()}});
    agent_ = std::make_unique<Agent>(client_, *environment_, log_, clock_);
  }

  v1::Lease Lease(int attempt) {
    v1::Lease lease;
    lease.set_work("jobs/1");
    lease.set_attempt(attempt);
    lease.mutable_lease_duration()->set_nanos(30'000'000);
    lease.set_base_model("baseModels/tiny");
    lease.set_base_sha256(base_sha256_);
    return lease;
  }

  void RunVectorTraining() {
    v1::Lease lease = Lease(1);
    lease.mutable_security_vector()->set_version(kVersion);
    v1::SecurityVectorRecipe& recipe = *lease.mutable_security_vector()->mutable_recipe();
    recipe.set_lora_rank(4);
    recipe.set_learning_rate(0.03);
    recipe.set_epochs(6);
    recipe.set_batch_size(4);
    server_.Offer(lease, {{v1::WorkInput::KIND_DATASET, Rows("placeholder plan", 8)},
                          {v1::WorkInput::KIND_GENERAL_DATASET, Rows("x", 4)},
                          {v1::WorkInput::KIND_SUITE_PROMPTS, Suite("held out")},
                          {v1::WorkInput::KIND_SUITE_RULES, rules_},
                          {v1::WorkInput::KIND_SUITE_GENERAL_PROMPTS, Suite("general")}});
    WT_ASSERT_OK_AND_ASSIGN(const bool worked, agent_->RunOne(absl::Seconds(1)));
    ASSERT_TRUE(worked);
    ASSERT_TRUE(server_.completed().has_value()) << log_text_.str();
    vector_result_ = server_.completed()->security_vector();
    sealed_ = server_.artifact(Artifact::KIND_SECURITY_VECTOR);
  }

  v1::Lease JobLease(int attempt) {
    v1::Lease lease = Lease(attempt);
    v1::FineTuningWork& work = *lease.mutable_fine_tuning();
    v1::Hyperparameters parameters;
    parameters.set_epochs(4);
    parameters.set_batch_size(2);
    parameters.set_lora_rank(2);
    *work.mutable_hyperparameters() = WithDefaults(parameters);
    work.set_security_vector_version(kVersion);
    work.set_security_vector_sha256(vector_result_.plain_sha256());
    return lease;
  }
  Inputs JobInputs() {
    return {{v1::WorkInput::KIND_DATASET, Rows(kSecretRow, 6)},
            {v1::WorkInput::KIND_SECURITY_VECTOR, sealed_},
            {v1::WorkInput::KIND_SUITE_PROMPTS, Suite("held out")},
            {v1::WorkInput::KIND_SUITE_RULES, rules_}};
  }
  void RunJob(const v1::Lease& lease, Inputs inputs) {
    server_.Offer(lease, std::move(inputs));
    RunOffered();
  }
  void RunOffered() {
    WT_ASSERT_OK_AND_ASSIGN(const bool worked, agent_->RunOne(absl::Seconds(1)));
    ASSERT_TRUE(worked);
  }

  // The job failed for this reason and left no adapter.
  void ExpectFailure(std::string_view code, bool retryable) {
    EXPECT_FALSE(server_.completed().has_value());
    EXPECT_EQ(server_.uploads(Artifact::KIND_ADAPTER), 0);
    ASSERT_THAT(server_.failures(), SizeIs(1));
    EXPECT_EQ(server_.failures()[0].error_code(), code);
    EXPECT_EQ(server_.failures()[0].retryable(), retryable);
    EXPECT_THAT(server_.failures()[0].error_message(), Not(IsEmpty()));
  }

  const std::string rules_ = R"({"version": 1, "harmful_patterns": ["placeholder plan"]})";
  const std::string models_dir_;
  PosixFileSystem files_;
  SystemClock clock_;
  testing::ScriptedServer server_;
  SealingKey key_;
  std::ostringstream log_text_;
  EventLog log_;
  WorkerClient client_;
  BaseScores scores_;
  std::optional<BaseModels> models_;
  std::unique_ptr<JobEnvironment> environment_;
  std::unique_ptr<Agent> agent_;

  std::string base_sha256_;
  v1::SecurityVectorResult vector_result_;
  std::string sealed_;
};

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
                          OpenSecurityVector(key_, identity, base->model.config(), sealed_));
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
  EXPECT_EQ(proof.scored_base_sha256(), base_sha256_);
  EXPECT_THAT(proof.folded_sha256(), SizeIs(64));
  EXPECT_GE(proof.canary_checks(), 5);  // before, at three checkpoints, after
  EXPECT_LE(proof.canary_max_abs_diff(), proof.canary_tolerance());
  EXPECT_LE(proof.strip_max_cosine(), 0.5);

  WT_ASSERT_OK_AND_ASSIGN(const FileSet adapter_files, ReadTar(tar));
  WT_ASSERT_OK_AND_ASSIGN(const PeftAdapter peft, ParsePeftAdapter(adapter_files));
  WT_ASSERT_OK_AND_ASSIGN(const auto base, models_->Load("baseModels/tiny", base_sha256_));
  WT_ASSERT_OK_AND_ASSIGN(const LoraAdapter adapter, FromPeftAdapter(peft, base->model.config()));
  EXPECT_EQ(AdapterDigest(adapter), proof.adapter_sha256());
  EXPECT_THAT(log_text_.str(), Not(HasSubstr(kSecretRow)));
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
  server_.OnUpload([](const Artifact::Header&) { return testing::ScriptedServer::LeaseLost(); });
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

TEST_F(AgentTest, RefusesToTrainWithoutTheVector) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  Inputs inputs = JobInputs();
  inputs.erase(v1::WorkInput::KIND_SECURITY_VECTOR);
  ASSERT_NO_FATAL_FAILURE(RunJob(JobLease(1), inputs));
  ExpectFailure("SECURITY_VECTOR_MISSING", /*retryable=*/false);
}

TEST_F(AgentTest, RefusesAnAlteredVector) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  Inputs inputs = JobInputs();
  inputs[v1::WorkInput::KIND_SECURITY_VECTOR][sealed_.size() / 2] ^= 1;
  ASSERT_NO_FATAL_FAILURE(RunJob(JobLease(1), inputs));
  ExpectFailure("SECURITY_VECTOR_ALTERED", /*retryable=*/false);
}

TEST_F(AgentTest, RefusesAVectorThatIsNotTheLeases) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  v1::Lease lease = JobLease(1);
  lease.mutable_fine_tuning()->set_security_vector_sha256(std::string(64, '0'));
  ASSERT_NO_FATAL_FAILURE(RunJob(lease, JobInputs()));
  ExpectFailure("SECURITY_VECTOR_ALTERED", /*retryable=*/false);
}

// Replaces the vector by one that whoever holds the key could have sealed.
class ForgedVectorTest : public AgentTest {
 protected:
  void Forge(const std::function<void(SecurityVector&)>& change) {
    WT_ASSERT_OK_AND_ASSIGN(const auto base, models_->Load("baseModels/tiny", base_sha256_));
    const SecurityVectorIdentity identity = {
        .version = kVersion, .sha256 = vector_result_.plain_sha256(), .base_sha256 = base_sha256_};
    WT_ASSERT_OK_AND_ASSIGN(SecurityVector vector,
                            OpenSecurityVector(key_, identity, base->model.config(), sealed_));
    change(vector);
    vector_result_.set_plain_sha256(SecurityVectorDigest(vector));
    WT_ASSERT_OK_AND_ASSIGN(const std::string plain, SerializeSecurityVector(vector));
    WT_ASSERT_OK_AND_ASSIGN(sealed_, Seal(key_, kVersion, plain));
  }
};

TEST_F(ForgedVectorTest, RefusesAZeroedVector) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  ASSERT_NO_FATAL_FAILURE(Forge([](SecurityVector& vector) {
    for (auto& layer : vector.adapter.layers) {
      for (LoraMatrices& m : layer) std::fill(m.b.begin(), m.b.end(), 0.0f);
    }
  }));
  ASSERT_NO_FATAL_FAILURE(RunJob(JobLease(1), JobInputs()));
  ExpectFailure("SECURITY_VECTOR_INACTIVE", /*retryable=*/false);
}

TEST_F(ForgedVectorTest, RefusesAVectorTooWeakToActAndOneThatWasExchanged) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  ASSERT_NO_FATAL_FAILURE(Forge([](SecurityVector& vector) { vector.adapter.spec.alpha *= 1e-3; }));
  ASSERT_NO_FATAL_FAILURE(RunJob(JobLease(1), JobInputs()));
  ExpectFailure("SECURITY_VECTOR_INACTIVE", /*retryable=*/false);

  ASSERT_NO_FATAL_FAILURE(
      Forge([](SecurityVector& vector) { vector.adapter.spec.alpha *= 1.5e3; }));
  ASSERT_NO_FATAL_FAILURE(RunJob(JobLease(2), JobInputs()));
  ExpectFailure("SECURITY_VECTOR_ALTERED", /*retryable=*/false);
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

}  // namespace
}  // namespace wardtune
