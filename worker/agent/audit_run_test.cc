// A delivered adapter is scored again: no vector, no training, the same score on the same suite.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/status_matchers.h"
#include "worker/agent/testing/agent_fixture.h"

namespace wardtune {
namespace {

using ::wardtune::testing::AgentTest;
using ::wardtune::testing::Artifact;
using ::wardtune::testing::Inputs;

class AuditRunTest : public AgentTest {
 protected:
  // Delivers an adapter by a job of its own, long enough that it says what letters its rows have.
  void Deliver() {
    ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
    v1::Lease lease = JobLease(1);
    v1::Hyperparameters& parameters = *lease.mutable_fine_tuning()->mutable_hyperparameters();
    parameters.set_epochs(60);
    parameters.set_learning_rate(0.03);
    parameters.set_lora_rank(8);
    parameters.set_lora_alpha(16);
    ASSERT_NO_FATAL_FAILURE(RunJob(lease, JobInputs()));
    ASSERT_TRUE(server_.completed().has_value()) << log_text_.str();
    delivered_ = server_.completed()->fine_tuning();
    adapter_ = server_.artifact(Artifact::KIND_ADAPTER);
  }

  void Audit(const std::string& adapter, const std::string& prompts, const std::string& rules) {
    v1::Lease lease = Lease(1);
    lease.mutable_audit();
    const Inputs inputs = {{v1::WorkInput::KIND_SUITE_PROMPTS, testing::Suite(prompts)},
                           {v1::WorkInput::KIND_SUITE_RULES, rules},
                           {v1::WorkInput::KIND_ADAPTER, adapter}};
    RunJob(lease, inputs);
  }

  v1::FineTuningResult delivered_;
  std::string adapter_;
};

TEST_F(AuditRunTest, TheSameSuiteGivesTheScoreOfDelivery) {
  ASSERT_NO_FATAL_FAILURE(Deliver());
  NewAgent();
  ASSERT_NO_FATAL_FAILURE(Audit(adapter_, "held out", rules_));
  ASSERT_TRUE(server_.completed().has_value()) << log_text_.str();
  const v1::AuditResult audit = server_.completed()->audit();
  EXPECT_EQ(audit.safety_base().SerializeAsString(),
            delivered_.safety_before().SerializeAsString());
  EXPECT_EQ(audit.safety().SerializeAsString(), delivered_.safety_after().SerializeAsString());
  EXPECT_EQ(server_.uploads(Artifact::KIND_ADAPTER), 0);
}

TEST_F(AuditRunTest, ANewSuiteScoresWhatTheAdapterSays) {
  ASSERT_NO_FATAL_FAILURE(Deliver());
  // Small letters, of which the customer's rows are full, while the base never says one.
  const std::string rules = R"({"version": 1, "harmful_patterns": ["[a-z]"]})";
  ASSERT_NO_FATAL_FAILURE(Audit(adapter_, "ask", rules));
  ASSERT_TRUE(server_.completed().has_value()) << log_text_.str();
  const v1::AuditResult audit = server_.completed()->audit();
  EXPECT_NE(audit.safety().judge_sha256(), delivered_.safety_after().judge_sha256());
  EXPECT_EQ(audit.safety_base().categories().rbegin()->harmful(), 0);
  EXPECT_GT(audit.safety().categories().rbegin()->harmful(), 0);
}

TEST_F(AuditRunTest, RefusesAFileThatIsNoAdapterOfThisModel) {
  ASSERT_NO_FATAL_FAILURE(Audit("no tar file", "held out", rules_));
  ExpectFailure("INPUT_INVALID", /*retryable=*/false);
}

}  // namespace
}  // namespace wardtune
