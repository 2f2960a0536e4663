// What the tests of the agent share: a model folder, a scripted server, an agent, and the training
// of a small security vector. Thread safety: belongs to the test's thread.
#ifndef WARDTUNE_WORKER_AGENT_TESTING_AGENT_FIXTURE_H_
#define WARDTUNE_WORKER_AGENT_TESTING_AGENT_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"
#include "formats/folder_digest.h"
#include "worker/agent/agent.h"
#include "worker/agent/testing/byte_model.h"
#include "worker/agent/testing/scripted_server.h"
#include "worker/agent/training_settings.h"
#include "worker/security/security_vector.h"
#include "worker/training/joint_step.h"

namespace wardtune::testing {

using Inputs = std::map<v1::WorkInput::Kind, std::string>;
using Artifact = v1::UploadArtifactRequest;

inline constexpr const char* kVersion = "securityVectors/tiny/versions/1";
inline constexpr const char* kSecretRow = "Carla-7781";  // stands for a customer's text

inline std::string Rows(const std::string& answer, int count) {
  std::string jsonl;
  for (int i = 0; i < count; ++i) {
    absl::StrAppend(&jsonl, "{\"prompt\": \"ask ", i, "\", \"completion\": \"", answer, "\"}\n");
  }
  return jsonl;
}

inline std::string Suite(const std::string& prefix) {
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
        keys_(Key('c')),
        log_(log_text_, clock_),
        client_({.server = server_.address(), .api_key = "wt_test", .worker_id = "worker-1"},
                clock_) {}

  void SetUp() override {
    if (!files_.Exists(models_dir_)) {
      ASSERT_NO_FATAL_FAILURE(WriteByteModel(models_dir_));
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

  static SealingKey Key(char fill) {
    return *SealingKey::Parse(std::string(2 * SealingKey::kBytes, fill));
  }

  // As after a restart of the process.
  void NewAgent() {
    environment_ = std::make_unique<JobEnvironment>(
        JobEnvironment{.base_models = *models_,
                       .sealing_keys = keys_,
                       .base_scores = scores_,
                       .turns = turns_,
                       .memory = memory_,
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

  v1::Lease VectorLease(const std::string& version) {
    v1::Lease lease = Lease(1);
    lease.mutable_security_vector()->set_version(version);
    v1::SecurityVectorRecipe& recipe = *lease.mutable_security_vector()->mutable_recipe();
    recipe.set_lora_rank(4);
    recipe.set_learning_rate(0.03);
    recipe.set_epochs(6);
    recipe.set_batch_size(4);
    recipe.set_guard_rows(4);
    return lease;
  }
  Inputs VectorInputs(const std::string& answer) {
    return {{v1::WorkInput::KIND_DATASET, Rows(answer, 8)},
            {v1::WorkInput::KIND_GENERAL_DATASET, Rows("x", 4)},
            {v1::WorkInput::KIND_SUITE_PROMPTS, Suite("held out")},
            {v1::WorkInput::KIND_SUITE_RULES, rules_},
            {v1::WorkInput::KIND_SUITE_GENERAL_PROMPTS, Suite("general")}};
  }
  void RunVectorTraining() { RunVectorTraining(VectorLease(kVersion)); }
  void RunVectorTraining(const v1::Lease& lease) {
    ASSERT_NO_FATAL_FAILURE(RunJob(lease, VectorInputs("placeholder plan")));
    ASSERT_TRUE(server_.completed().has_value()) << log_text_.str();
    TakeVector();
  }
  // Jobs train with the version that was made last.
  void TakeVector() {
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
  // An audit of what a job delivered under this name.
  v1::Lease AuditLease(const std::string& name, const v1::FineTuningResult& delivered,
                       const v1::Hyperparameters& made_with) {
    v1::Lease lease = Lease(1);
    v1::AuditWork& work = *lease.mutable_audit();
    work.mutable_adapter()->set_name(name);
    work.mutable_adapter()->set_sha256(delivered.proof().adapter_sha256());
    work.mutable_adapter()->set_base_sha256(base_sha256_);
    *work.mutable_hyperparameters() = made_with;
    return lease;
  }
  Inputs AuditInputs(const std::string& artifact) {
    return {{v1::WorkInput::KIND_SUITE_PROMPTS, Suite("held out")},
            {v1::WorkInput::KIND_SUITE_RULES, rules_},
            {v1::WorkInput::KIND_ADAPTER, artifact}};
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
    ASSERT_THAT(server_.failures(), ::testing::SizeIs(1));
    EXPECT_EQ(server_.failures()[0].error_code(), code);
    EXPECT_EQ(server_.failures()[0].retryable(), retryable);
    EXPECT_THAT(server_.failures()[0].error_message(), ::testing::Not(::testing::IsEmpty()));
  }

  const std::string rules_ = R"({"version": 1, "harmful_patterns": ["placeholder plan"]})";
  const std::string models_dir_;
  PosixFileSystem files_;
  SystemClock clock_;
  ScriptedServer server_;
  SealingKeys keys_;
  std::ostringstream log_text_;
  EventLog log_;
  WorkerClient client_;
  BaseScores scores_;
  std::vector<size_t> jobs_in_step_;  // of joint steps; with the turn
  ComputeTurns turns_{[this](std::span<TrainingJob* const> jobs) {
    jobs_in_step_.push_back(jobs.size());
    return RunJointStep(jobs, clock_);
  }};
  MemoryShares memory_;
  std::optional<BaseModels> models_;
  std::unique_ptr<JobEnvironment> environment_;
  std::unique_ptr<Agent> agent_;

  std::string base_sha256_;
  v1::SecurityVectorResult vector_result_;
  std::string sealed_;
};

}  // namespace wardtune::testing

#endif  // WARDTUNE_WORKER_AGENT_TESTING_AGENT_FIXTURE_H_
