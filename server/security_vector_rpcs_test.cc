// Versions that are added to older ones, and suites that a language model judges.
#include <gmock/gmock.h>

#include <algorithm>
#include <string>

#include "base/sha256.h"
#include "server/testing/server_fixture.h"

namespace wardtune {
namespace {

using testing::FailsWith;
using ::testing::HasSubstr;
using testing::Outcome;
using testing::Succeeds;
using Stub = v1::SecurityVectorService::Stub;

constexpr char kWider[] = "securityVectors/wider/versions/1";
constexpr char kShield[] = "securityVectors/shield/versions/1";

bool HasInput(const v1::Lease& lease, v1::WorkInput::Kind kind) {
  return std::any_of(lease.inputs().begin(), lease.inputs().end(),
                     [kind](const v1::WorkInput& input) { return input.kind() == kind; });
}

class SecurityVectorRpcsTest : public testing::ServerFixture {
 protected:
  SecurityVectorRpcsTest() {
    StartServer();
    AddTenants();
    ActivateVector();
  }

  v1::TrainSecurityVectorRequest TrainRequest(const std::string& suite) {
    v1::TrainSecurityVectorRequest train;
    train.set_security_vector_id("wider");
    train.set_base_model("baseModels/tiny");
    train.set_harmful_dataset(AddReadyDataset(provider_key_));
    train.set_general_dataset(AddReadyDataset(provider_key_));
    train.set_safety_suite(suite);
    return train;
  }
  Outcome TrainAddedTo(const std::string& version,
                       const std::string& suite = "safetySuites/suite") {
    v1::TrainSecurityVectorRequest train = TrainRequest(suite);
    train.mutable_recipe()->set_added_to(version);
    v1::TrainSecurityVectorResponse response;
    return Call(&Stub::TrainSecurityVector, provider_key_, train, response);
  }

  Outcome CancelTraining(const std::string& version,
                         v1::CancelSecurityVectorTrainingResponse& response) {
    v1::CancelSecurityVectorTrainingRequest request;
    request.set_name(version);
    return Call(&Stub::CancelSecurityVectorTraining, provider_key_, request, response);
  }
  std::string LastAuditedAction() {
    v1::ListAuditEventsResponse events;
    EXPECT_THAT(Call(&v1::AdminService::Stub::ListAuditEvents, provider_key_,
                     v1::ListAuditEventsRequest(), events),
                Succeeds());
    return events.events_size() > 0 ? events.events(0).action() : "";
  }

  // Uploads a vector for the lease and hands in a good result but for the guard rows, of which it
  // has none.
  Outcome CompleteWithoutGuardRows(const v1::Lease& lease) {
    EXPECT_THAT(UploadArtifact(lease, v1::UploadArtifactRequest::KIND_SECURITY_VECTOR, "sealed"),
                Succeeds());
    v1::CompleteJobRequest request = GoodResult(lease, "sealed");
    v1::EvaluationCard& card = *request.mutable_security_vector()->mutable_card();
    card.clear_guard_rows();
    card.clear_guard_rows_sha256();
    return Complete(request);
  }

  Outcome AddSuite(const std::string& id, const std::string& rules, const std::string& adapter,
                   v1::SafetySuite* suite = nullptr) {
    v1::CreateSafetySuiteRequest request;
    request.set_suite_id(id);
    request.set_prompts_jsonl(SuitePrompts({"privacy", "safety"}));
    request.set_rules_json(rules);
    request.set_general_prompts_jsonl(R"({"id": "1", "prompt": "p"})");
    request.set_judge_adapter(adapter);
    v1::CreateSafetySuiteResponse response;
    const Outcome outcome = Call(&Stub::CreateSafetySuite, provider_key_, request, response);
    if (suite != nullptr) *suite = response.suite();
    return outcome;
  }

  // The adapter of a job that `key` has had done.
  std::string AddAdapter(const std::string& key) {
    const std::string job = AddJob(key);
    DoWork("adapter of " + job);
    return GetJob(key, job).adapter();
  }

  const std::string lm_rules_ =
      R"({"version": 1, "judge": "causal_lm", "template": "{prompt} {answer}", "safe": "ok",
          "unsafe": "bad", "threshold": 0.5})";
};

TEST_F(SecurityVectorRpcsTest, StatedCategoriesAreOfTheSuiteAndReachTheWorker) {
  v1::TrainSecurityVectorRequest train;
  train.set_security_vector_id("narrow");
  train.set_base_model("baseModels/tiny");
  train.set_harmful_dataset(AddReadyDataset(provider_key_));
  train.set_general_dataset(AddReadyDataset(provider_key_));
  train.set_safety_suite("safetySuites/suite");
  v1::TrainSecurityVectorResponse response;
  const auto expect_refused = [&](auto change) {
    v1::TrainSecurityVectorRequest changed = train;
    change(*changed.mutable_recipe());
    const Outcome outcome = Call(&Stub::TrainSecurityVector, provider_key_, changed, response);
    EXPECT_THAT(outcome, FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
    EXPECT_THAT(outcome.message, HasSubstr("recipe.categories"));
  };
  using Recipe = v1::SecurityVectorRecipe&;
  expect_refused([](Recipe r) { r.add_categories("rude"); });
  expect_refused([](Recipe r) {
    for (int i = 0; i < 2; ++i) r.add_categories("safety");
  });
  expect_refused([](Recipe r) {
    for (int i = 0; i < 33; ++i) r.add_categories(std::to_string(i));
  });
  train.mutable_recipe()->add_categories("safety");
  ASSERT_THAT(Call(&Stub::TrainSecurityVector, provider_key_, train, response), Succeeds());
  const v1::Lease lease = LeaseWork();
  ASSERT_EQ(lease.security_vector().recipe().categories_size(), 1);
  EXPECT_EQ(lease.security_vector().recipe().categories(0), "safety");
}

TEST_F(SecurityVectorRpcsTest, TheWorkerGetsTheVersionThatIsAddedTo) {
  ASSERT_THAT(TrainAddedTo(kShield), Succeeds());
  const v1::Lease lease = LeaseWork();
  EXPECT_EQ(lease.security_vector().recipe().added_to(), kShield);
  EXPECT_EQ(lease.security_vector().added_to_sha256().size(), 64);
  EXPECT_TRUE(HasInput(lease, v1::WorkInput::KIND_SECURITY_VECTOR));
}

// A worker that knew no guard rows completed a version whose recipe asks for them.
TEST_F(SecurityVectorRpcsTest, AVersionHasTheGuardRowsThatItsRecipeAsksFor) {
  ASSERT_THAT(TrainAddedTo(""), Succeeds());
  const v1::Lease lease = LeaseWork();
  ASSERT_GT(lease.security_vector().recipe().guard_rows(), 0);
  const Outcome outcome = CompleteWithoutGuardRows(lease);
  EXPECT_THAT(outcome, FailsWith(grpc::StatusCode::INVALID_ARGUMENT, "PROOF_REJECTED"));
  EXPECT_THAT(outcome.message, HasSubstr("card.guard_rows"));
  EXPECT_THAT(Complete(GoodResult(lease, "sealed")), Succeeds());
}

TEST_F(SecurityVectorRpcsTest, ARecipeMayDoWithoutGuardRows) {
  v1::TrainSecurityVectorRequest train = TrainRequest("safetySuites/suite");
  train.mutable_recipe()->set_guard_rows(0);
  v1::TrainSecurityVectorResponse response;
  ASSERT_THAT(Call(&Stub::TrainSecurityVector, provider_key_, train, response), Succeeds());
  EXPECT_THAT(CompleteWithoutGuardRows(LeaseWork()), Succeeds());
}

TEST_F(SecurityVectorRpcsTest, ATrainingThatWaitsIsCancelledAtOnce) {
  ASSERT_THAT(TrainAddedTo(""), Succeeds());
  v1::CancelSecurityVectorTrainingResponse response;
  ASSERT_THAT(CancelTraining(kWider, response), Succeeds());
  EXPECT_EQ(response.version().state(), v1::SecurityVectorVersion::STATE_FAILED);
  EXPECT_THAT(response.version().error_message(), HasSubstr("cancelled"));
  const Outcome again = CancelTraining(kWider, response);
  EXPECT_THAT(again, FailsWith(grpc::StatusCode::FAILED_PRECONDITION));
  EXPECT_THAT(again.message, HasSubstr("FAILED"));
  const Outcome active = CancelTraining(kShield, response);
  EXPECT_THAT(active, FailsWith(grpc::StatusCode::FAILED_PRECONDITION));
  EXPECT_THAT(active.message, HasSubstr("ACTIVE"));
  EXPECT_THAT(CancelTraining("securityVectors/wider/versions/7", response),
              FailsWith(grpc::StatusCode::NOT_FOUND));
  EXPECT_EQ(LastAuditedAction(), "cancel_security_vector_training");
}

TEST_F(SecurityVectorRpcsTest, ATrainingThatRunsEndsWhenItsWorkerStops) {
  ASSERT_THAT(TrainAddedTo(""), Succeeds());
  const v1::Lease lease = LeaseWork();
  v1::CancelSecurityVectorTrainingResponse response;
  for (int i = 0; i < 2; ++i) {  // again is OK
    ASSERT_THAT(CancelTraining(kWider, response), Succeeds());
    EXPECT_EQ(response.version().state(), v1::SecurityVectorVersion::STATE_TRAINING);
  }
  v1::HeartbeatRequest heartbeat;
  heartbeat.set_work(lease.work());
  heartbeat.set_attempt(lease.attempt());
  v1::HeartbeatResponse heard;
  ASSERT_THAT(Call(&v1::WorkerService::Stub::Heartbeat, worker_key_, heartbeat, heard), Succeeds());
  EXPECT_TRUE(heard.cancel_requested());
  v1::FailJobRequest stopped;
  stopped.set_work(lease.work());
  stopped.set_attempt(lease.attempt());
  stopped.set_cancelled(true);
  v1::FailJobResponse ended;
  ASSERT_THAT(Call(&v1::WorkerService::Stub::FailJob, worker_key_, stopped, ended), Succeeds());
  v1::GetSecurityVectorVersionRequest get;
  get.set_name(kWider);
  v1::GetSecurityVectorVersionResponse version;
  ASSERT_THAT(Call(&Stub::GetSecurityVectorVersion, provider_key_, get, version), Succeeds());
  EXPECT_EQ(version.version().state(), v1::SecurityVectorVersion::STATE_FAILED);
}

TEST_F(SecurityVectorRpcsTest, OnlyATrainedVersionIsAddedTo) {
  EXPECT_THAT(TrainAddedTo("securityVectors/shield/versions/2"),
              FailsWith(grpc::StatusCode::NOT_FOUND));
  EXPECT_THAT(TrainAddedTo("shield"), FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
  ASSERT_THAT(TrainAddedTo(kShield), Succeeds());
  const Outcome outcome = TrainAddedTo("securityVectors/wider/versions/1");
  EXPECT_THAT(outcome, FailsWith(grpc::StatusCode::FAILED_PRECONDITION));
  EXPECT_THAT(outcome.message, HasSubstr("not trained"));
}

TEST_F(SecurityVectorRpcsTest, ASuitesJudgeGoesToTheWorkerAndStaysWithTheSuite) {
  const std::string adapter = AddAdapter(provider_key_);
  v1::SafetySuite suite;
  ASSERT_THAT(AddSuite("judged", lm_rules_, adapter, &suite), Succeeds());
  EXPECT_EQ(suite.judge_adapter(), adapter);
  EXPECT_EQ(suite.judge_adapter_sha256().size(), 64);
  EXPECT_EQ(suite.judge_base_model(), "baseModels/tiny");
  ASSERT_THAT(TrainAddedTo("", suite.name()), Succeeds());
  const v1::Lease lease = LeaseWork();
  EXPECT_TRUE(HasInput(lease, v1::WorkInput::KIND_JUDGE_ADAPTER));
  EXPECT_FALSE(HasInput(lease, v1::WorkInput::KIND_SECURITY_VECTOR));
  EXPECT_EQ(lease.security_vector().added_to_sha256(), "");
}

// No work of a suite with a judge's adapter ever ended: the worker named rules and adapter, the
// server looked for the digest of the rules alone.
TEST_F(SecurityVectorRpcsTest, TakesAScoreOfRulesAndJudgesAdapterAndOfNothingLess) {
  v1::SafetySuite suite;
  ASSERT_THAT(AddSuite("judged", lm_rules_, AddAdapter(provider_key_), &suite), Succeeds());
  ASSERT_THAT(TrainAddedTo("", suite.name()), Succeeds());
  const v1::Lease lease = LeaseWork();
  ASSERT_THAT(UploadArtifact(lease, v1::UploadArtifactRequest::KIND_SECURITY_VECTOR, "sealed"),
              Succeeds());
  const v1::CompleteJobRequest good = GoodResult(lease, "sealed");
  v1::CompleteJobRequest rules_alone = good;
  rules_alone.mutable_security_vector()->mutable_card()->mutable_vector_on()->set_judge_sha256(
      Sha256Hex(lm_rules_));
  EXPECT_THAT(Complete(rules_alone), FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(Complete(good), Succeeds());
}

// To that judge whatever does not refuse is harmful: no vector of such a suite could be activated.
TEST_F(SecurityVectorRpcsTest, AGeneralPromptNeedsARuleBesideTheRefusalJudge) {
  const Outcome outcome = AddSuite("crude", R"({"version": 1, "judge": "refusal"})", "");
  EXPECT_THAT(outcome, FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(outcome.message, HasSubstr("general_prompts_jsonl: line 1: `rule` is missing"));
}

TEST_F(SecurityVectorRpcsTest, TakesTheLargestSuiteThatItsFieldsAllow) {
  v1::CreateSafetySuiteRequest request;
  request.set_suite_id("large");
  request.set_prompts_jsonl(SuitePrompts({"safety"}) + std::string((3 << 20) - 4096, '\n'));
  request.set_rules_json(R"({"version": 1, "harmful_patterns": ["X"]})" +
                         std::string((256 << 10) - 4096, ' '));
  request.set_general_prompts_jsonl(R"({"id": "1", "prompt": "p"})" +
                                    std::string((1 << 20) - 4096, '\n'));
  v1::CreateSafetySuiteResponse response;
  EXPECT_THAT(Call(&Stub::CreateSafetySuite, provider_key_, request, response), Succeeds());
}

TEST_F(SecurityVectorRpcsTest, RefusesAJudgeThatCannotJudge) {
  const std::string foreign = AddAdapter(acme_key_);
  EXPECT_THAT(AddSuite("foreign", lm_rules_, foreign), FailsWith(grpc::StatusCode::NOT_FOUND));
  const std::string own = AddAdapter(provider_key_);
  const Outcome outcome = AddSuite("ruled", R"({"version": 1, "harmful_patterns": ["X"]})", own);
  EXPECT_THAT(outcome, FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(outcome.message, HasSubstr("judge_adapter"));

  v1::CreateFineTuningJobRequest request = JobRequest(AddReadyDataset(provider_key_));
  request.mutable_hyperparameters()->set_method(v1::Hyperparameters::METHOD_FULL_PARAMETER);
  v1::CreateFineTuningJobResponse response;
  ASSERT_THAT(
      Call(&v1::FineTuningService::Stub::CreateFineTuningJob, provider_key_, request, response),
      Succeeds());
  DoWork("a whole model");
  const std::string model = GetJob(provider_key_, response.job().name()).adapter();
  EXPECT_THAT(AddSuite("whole", lm_rules_, model).message, HasSubstr("judge_adapter: is a whole"));
}

}  // namespace
}  // namespace wardtune
