// A delivered adapter is scored again: no vector, no training, the same score on the same suite.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/status_matchers.h"
#include "worker/agent/testing/agent_fixture.h"

namespace wardtune {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::wardtune::testing::AgentTest;
using ::wardtune::testing::Artifact;
using ::wardtune::testing::Inputs;

constexpr char kAdapter[] = "tenants/acme/adapters/delivered";

class AuditRunTest : public AgentTest {
 protected:
  // Delivers an adapter by a job of its own, long enough that it says what letters its rows have.
  void Deliver() {
    v1::Lease vector = VectorLease(kVersion);
    // Held to what the base says, the adapter would say nothing to tell apart.
    vector.mutable_security_vector()->mutable_recipe()->set_guard_rows(0);
    ASSERT_NO_FATAL_FAILURE(RunVectorTraining(vector));
    v1::Lease lease = JobLease(1);
    v1::Hyperparameters& parameters = *lease.mutable_fine_tuning()->mutable_hyperparameters();
    parameters.set_epochs(60);
    parameters.set_learning_rate(0.03);
    parameters.set_lora_rank(8);
    parameters.set_lora_alpha(16);
    hyperparameters_ = parameters;
    ASSERT_NO_FATAL_FAILURE(RunJob(lease, JobInputs()));
    ASSERT_TRUE(server_.completed().has_value()) << log_text_.str();
    delivered_ = server_.completed()->fine_tuning();
    adapter_ = server_.artifact(Artifact::KIND_ADAPTER);
    log_text_.str("");
  }

  v1::Lease AuditLease() { return AgentTest::AuditLease(kAdapter, delivered_, hyperparameters_); }
  Inputs AuditInputs() { return AgentTest::AuditInputs(adapter_); }
  // The audit ends before anything is scored, and its error tells of which adapter and why.
  void ExpectUnfit(const v1::Lease& lease, const Inputs& inputs, const std::string& code,
                   const std::string& why) {
    ASSERT_NO_FATAL_FAILURE(RunJob(lease, inputs));
    ASSERT_NO_FATAL_FAILURE(ExpectFailure(code, /*retryable=*/false));
    EXPECT_THAT(server_.failures()[0].error_message(), AllOf(HasSubstr(kAdapter), HasSubstr(why)));
    EXPECT_THAT(log_text_.str(), Not(HasSubstr("PHASE_SCORING")));
  }

  v1::FineTuningResult delivered_;
  v1::Hyperparameters hyperparameters_;  // that it was made with
  std::string adapter_;
};

TEST_F(AuditRunTest, TheSameSuiteGivesTheScoreOfDelivery) {
  ASSERT_NO_FATAL_FAILURE(Deliver());
  NewAgent();
  ASSERT_NO_FATAL_FAILURE(RunJob(AuditLease(), AuditInputs()));
  ASSERT_TRUE(server_.completed().has_value()) << log_text_.str();
  const v1::AuditResult audit = server_.completed()->audit();
  EXPECT_EQ(audit.safety_base().SerializeAsString(),
            delivered_.safety_before().SerializeAsString());
  EXPECT_EQ(audit.safety().SerializeAsString(), delivered_.safety_after().SerializeAsString());
  EXPECT_EQ(audit.base_sha256(), base_sha256_);
  EXPECT_EQ(audit.scored_base_sha256(), delivered_.proof().scored_base_sha256());
  EXPECT_EQ(audit.adapter_sha256(), delivered_.proof().adapter_sha256());
  EXPECT_EQ(server_.uploads(Artifact::KIND_ADAPTER), 0);
}

TEST_F(AuditRunTest, ANewSuiteScoresWhatTheAdapterSays) {
  ASSERT_NO_FATAL_FAILURE(Deliver());
  // Small letters, of which the customer's rows are full, while the base never says one.
  Inputs inputs = AuditInputs();
  inputs[v1::WorkInput::KIND_SUITE_PROMPTS] = testing::Suite("ask");
  inputs[v1::WorkInput::KIND_SUITE_RULES] = R"({"version": 1, "harmful_patterns": ["[a-z]"]})";
  ASSERT_NO_FATAL_FAILURE(RunJob(AuditLease(), inputs));
  ASSERT_TRUE(server_.completed().has_value()) << log_text_.str();
  const v1::AuditResult audit = server_.completed()->audit();
  EXPECT_NE(audit.safety().judge_sha256(), delivered_.safety_after().judge_sha256());
  EXPECT_EQ(audit.safety_base().categories().rbegin()->harmful(), 0);
  EXPECT_GT(audit.safety().categories().rbegin()->harmful(), 0);
}

TEST_F(AuditRunTest, ScoresNoAdapterThatIsNotTheNamedOne) {
  ASSERT_NO_FATAL_FAILURE(Deliver());
  const char* const invalid = "INPUT_INVALID";
  Inputs inputs = AuditInputs();
  inputs[v1::WorkInput::KIND_ADAPTER] = adapter_.substr(0, adapter_.size() / 2);
  ASSERT_NO_FATAL_FAILURE(ExpectUnfit(AuditLease(), inputs, invalid, "bad archive"));
  inputs[v1::WorkInput::KIND_ADAPTER] = std::string(5 << 20, '\0');
  ASSERT_NO_FATAL_FAILURE(ExpectUnfit(AuditLease(), inputs, invalid, "is larger than"));

  v1::Lease lease = AuditLease();
  lease.mutable_audit()->mutable_adapter()->set_sha256(std::string(64, '0'));
  ASSERT_NO_FATAL_FAILURE(
      ExpectUnfit(lease, AuditInputs(), invalid, "not those that its proof names"));
  lease = AuditLease();
  lease.mutable_audit()->mutable_hyperparameters()->set_lora_alpha(17);
  ASSERT_NO_FATAL_FAILURE(
      ExpectUnfit(lease, AuditInputs(), invalid, "not those of the hyperparameters"));

  inputs.erase(v1::WorkInput::KIND_ADAPTER);
  ASSERT_NO_FATAL_FAILURE(RunJob(AuditLease(), inputs));
  ExpectFailure("INPUT_MISSING", /*retryable=*/false);
}

TEST_F(AuditRunTest, ScoresOnNoOtherBaseThanTheAdapters) {
  ASSERT_NO_FATAL_FAILURE(Deliver());
  const std::string other(64, '0');
  v1::Lease lease = AuditLease();
  lease.mutable_audit()->mutable_adapter()->set_base_sha256(other);
  ASSERT_NO_FATAL_FAILURE(ExpectUnfit(lease, AuditInputs(), "BASE_MODEL_MISMATCH", other));
  EXPECT_THAT(server_.failures()[0].error_message(), HasSubstr(base_sha256_));

  // Another worker may have the files that the server wants.
  lease = AuditLease();
  lease.set_base_sha256(other);
  ASSERT_NO_FATAL_FAILURE(RunJob(lease, AuditInputs()));
  ExpectFailure("BASE_MODEL_MISMATCH", /*retryable=*/true);
}

TEST_F(AuditRunTest, HandsInNoScoreOfWeightsThatChangedMeanwhile) {
  ASSERT_NO_FATAL_FAILURE(Deliver());
  WT_ASSERT_OK_AND_ASSIGN(const auto base, models_->Load("baseModels/tiny", base_sha256_));
  // As if they had been others when they were loaded.
  const_cast<BaseModel&>(*base).weights_sha256 = std::string(64, '0');
  ASSERT_NO_FATAL_FAILURE(RunJob(AuditLease(), AuditInputs()));
  ASSERT_NO_FATAL_FAILURE(ExpectFailure("BASE_MODEL_MISMATCH", /*retryable=*/true));
  EXPECT_THAT(
      server_.failures()[0].error_message(),
      AllOf(HasSubstr(base->weights_sha256), HasSubstr(delivered_.proof().scored_base_sha256())));
}

}  // namespace
}  // namespace wardtune
