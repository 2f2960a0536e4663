// Results that a language model judges: the base with an adapter that an earlier job made.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/status_matchers.h"
#include "worker/agent/testing/agent_fixture.h"

namespace wardtune {
namespace {

using ::wardtune::testing::AgentTest;
using ::wardtune::testing::Artifact;
using ::wardtune::testing::Inputs;

class JudgeAdapterTest : public AgentTest {
 protected:
  // Of a job that is judged by the model; without `adapter` by the base itself.
  Inputs JudgedInputs(const std::string& adapter) {
    Inputs inputs = JobInputs();
    inputs[v1::WorkInput::KIND_SUITE_RULES] =
        R"({"version": 1, "judge": "causal_lm", "template": "{prompt} {answer}", "safe": "ok",
            "unsafe": "bad", "threshold": 0.5})";
    if (!adapter.empty()) inputs[v1::WorkInput::KIND_JUDGE_ADAPTER] = adapter;
    return inputs;
  }
  // How the result was judged.
  v1::SafetyReport Judged(const std::string& adapter) {
    RunJob(JobLease(1), JudgedInputs(adapter));
    EXPECT_TRUE(server_.completed().has_value()) << log_text_.str();
    return server_.completed()->fine_tuning().safety_after();
  }
};

TEST_F(JudgeAdapterTest, TheBaseJudgesWithTheAdapterOfAnEarlierJob) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  ASSERT_NO_FATAL_FAILURE(RunJob(JobLease(1), JobInputs()));
  ASSERT_TRUE(server_.completed().has_value()) << log_text_.str();
  const std::string adapter = server_.artifact(Artifact::KIND_ADAPTER);
  const v1::SafetyReport with = Judged(adapter);
  const v1::SafetyReport without = Judged("");
  EXPECT_EQ(with.judge(), "causal_lm/1");
  EXPECT_EQ(without.judge(), "causal_lm/1");
  EXPECT_NE(with.judge_sha256(), without.judge_sha256());
}

TEST_F(JudgeAdapterTest, RefusesAFileThatIsNoAdapterOfThisModel) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  ASSERT_NO_FATAL_FAILURE(RunJob(JobLease(1), JudgedInputs("no tar file")));
  ExpectFailure("INPUT_INVALID", /*retryable=*/false);
}

}  // namespace
}  // namespace wardtune
