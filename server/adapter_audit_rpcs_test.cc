// Audits through the API: when the server queues them, what the customer and the provider see, and
// that nothing but the figures changes.
#include <string>

#include "base/sha256.h"
#include "server/testing/server_fixture.h"

namespace wardtune {
namespace {

using testing::FailsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Outcome;
using testing::Succeeds;
using Admin = v1::AdminService::Stub;
using Adapters = v1::AdapterService::Stub;

constexpr absl::Duration kInterval = absl::Hours(24);
constexpr char kAuditRequestId[] = "6f1c1f9e-5f0e-4a55-9d5a-0d7c6a1b2c3d";

class AdapterAuditRpcsTest : public testing::ServerFixture {
 protected:
  AdapterAuditRpcsTest() {
    options_.audit_interval = kInterval;
    StartServer();
    AddTenants();
    ActivateVector();
    AddJob(acme_key_);
    adapter_ = GetJob(acme_key_, DoWork("adapter").work()).adapter();
  }

  v1::ListAdapterAuditsResponse List(const std::string& key) {
    v1::ListAdapterAuditsRequest request;
    request.set_adapter(adapter_);
    v1::ListAdapterAuditsResponse response;
    listed_ = Call(&Adapters::ListAdapterAudits, key, request, response);
    return response;
  }

  v1::ListAllAdapterAuditsResponse ListAll(bool drifted) {
    v1::ListAllAdapterAuditsRequest request;
    request.set_drifted(drifted);
    v1::ListAllAdapterAuditsResponse response;
    EXPECT_THAT(Call(&Admin::ListAllAdapterAudits, provider_key_, request, response), Succeeds());
    return response;
  }

  v1::Adapter Adapter() {
    v1::GetAdapterRequest request;
    request.set_name(adapter_);
    v1::GetAdapterResponse response;
    EXPECT_THAT(Call(&Adapters::GetAdapter, acme_key_, request, response), Succeeds());
    return response.adapter();
  }

  v1::AuditAdapterRequest Request() {
    v1::AuditAdapterRequest request;
    request.set_name(adapter_);
    request.set_reason("a complaint");
    request.set_request_id(kAuditRequestId);
    return request;
  }
  Outcome Audit(const std::string& key, const v1::AuditAdapterRequest& request) {
    v1::AuditAdapterResponse response;
    const Outcome outcome = Call(&Admin::AuditAdapter, key, request, response);
    audit_ = response.audit();
    return outcome;
  }

  // The worker's answer to the audit that waits: `harmful` of 10 prompts of `safety`.
  Outcome Score(int32_t harmful) {
    const v1::Lease lease = LeaseWork();
    EXPECT_TRUE(lease.has_audit());
    v1::CompleteJobRequest result = GoodResult(lease, "");
    SetHarmful(*result.mutable_audit()->mutable_safety(), harmful);
    const Outcome outcome = Complete(result);
    // The answer was lost, and the worker asks again.
    EXPECT_EQ(Complete(result), outcome);
    return outcome;
  }

  std::string adapter_;
  v1::AdapterAudit audit_;
  Outcome listed_;
};

TEST_F(AdapterAuditRpcsTest, AnAuditIsQueuedWhenTheIntervalIsOver) {
  clock_.Advance(kInterval - absl::Seconds(1));
  server_->RunDuties();
  EXPECT_EQ(List(acme_key_).audits_size(), 0);
  clock_.Advance(absl::Seconds(1));
  for (int i = 0; i < 2; ++i) server_->RunDuties();
  const v1::ListAdapterAuditsResponse listed = List(acme_key_);
  ASSERT_EQ(listed.audits_size(), 1);
  EXPECT_EQ(listed.audits(0).state(), v1::AdapterAudit::STATE_QUEUED);
  EXPECT_EQ(listed.audits(0).adapter(), adapter_);
  EXPECT_THAT(listed.audits(0).name(), ::testing::StartsWith(adapter_ + "/audits/"));
  EXPECT_EQ(listed.audits(0).safety_suite(), "safetySuites/suite");
  EXPECT_THAT(Score(0), Succeeds());
  const v1::AdapterAudit audit = List(acme_key_).audits(0);
  EXPECT_EQ(audit.state(), v1::AdapterAudit::STATE_PASSED);
  EXPECT_EQ(audit.attempt(), 1);
  EXPECT_EQ(audit.drifts_size(), 3);
  EXPECT_EQ(audit.safety_base().categories(2).harmful(), 1);
  EXPECT_EQ(audit.base_sha256(), Adapter().proof().base_sha256());
  EXPECT_EQ(audit.scored_base_sha256(), Sha256Hex("weights"));
}

TEST_F(AdapterAuditRpcsTest, TheWorkerLearnsWhichAdapterItIsToScore) {
  ASSERT_THAT(Audit(provider_key_, Request()), Succeeds());
  const v1::Lease lease = LeaseWork();
  const v1::Adapter adapter = Adapter();
  EXPECT_EQ(lease.audit().adapter().name(), adapter_);
  EXPECT_EQ(lease.audit().adapter().sha256(), adapter.proof().adapter_sha256());
  EXPECT_EQ(lease.audit().adapter().base_sha256(), adapter.proof().base_sha256());
  EXPECT_EQ(lease.audit().hyperparameters().SerializeAsString(),
            GetJob(acme_key_, adapter.job()).hyperparameters().SerializeAsString());
}

TEST_F(AdapterAuditRpcsTest, ASuiteThatCoversTheFormerTakesItsPlaceAtOnce) {
  // This one would lose a category from sight.
  AddSuite("narrow", SuitePrompts({"safety"}, "new"),
           R"({"version": 1, "harmful_patterns": ["X"]})");
  server_->RunDuties();
  EXPECT_EQ(List(acme_key_).audits_size(), 0);
  AddSuite("wide", SuitePrompts({"privacy", "safety"}, "new"),
           R"({"version": 1, "harmful_patterns": ["Y"]})");
  server_->RunDuties();
  ASSERT_EQ(List(acme_key_).audits_size(), 1);
  EXPECT_EQ(List(acme_key_).audits(0).safety_suite(), "safetySuites/wide");
  EXPECT_THAT(Score(0), Succeeds());
  server_->RunDuties();
  EXPECT_EQ(List(acme_key_).audits_size(), 1);
}

TEST_F(AdapterAuditRpcsTest, NothingIsQueuedWithoutAnInterval) {
  server_->Shutdown();
  options_.audit_interval = absl::ZeroDuration();
  StartServer();
  clock_.Advance(10 * kInterval);
  server_->RunDuties();
  EXPECT_EQ(List(acme_key_).audits_size(), 0);
  EXPECT_THAT(Audit(provider_key_, Request()), Succeeds());
}

TEST_F(AdapterAuditRpcsTest, DriftIsShownAndChangesNothingElse) {
  ASSERT_THAT(Audit(provider_key_, Request()), Succeeds());
  ASSERT_THAT(Score(10), Succeeds());
  const v1::AdapterAudit audit = List(acme_key_).audits(0);
  EXPECT_EQ(audit.state(), v1::AdapterAudit::STATE_DRIFTED);
  const v1::CategoryDrift& drift = audit.drifts(1);
  EXPECT_EQ(drift.category(), "safety");
  EXPECT_EQ(drift.difference(), 1);
  EXPECT_TRUE(drift.significant());
  EXPECT_FALSE(audit.drifts(0).significant());
  EXPECT_NE(audit.violations_size(), 0);
  EXPECT_EQ(audit.safety().categories(1).harmful(), 10);
  const v1::ListAllAdapterAuditsResponse drifted = ListAll(true);
  ASSERT_EQ(drifted.audits_size(), 1);
  EXPECT_EQ(drifted.audits(0).SerializeAsString(), audit.SerializeAsString());

  EXPECT_EQ(Adapter().gate().state(), v1::SafetyGate::STATE_AVAILABLE);
  EXPECT_EQ(Adapter().safety_after().categories(1).harmful(), 0);

  ASSERT_THAT(Audit(provider_key_,
                    [&] {
                      auto request = Request();
                      request.clear_request_id();
                      return request;
                    }()),
              Succeeds());
  ASSERT_THAT(Score(0), Succeeds());
  EXPECT_EQ(ListAll(true).audits_size(), 0);
  EXPECT_EQ(ListAll(false).audits_size(), 2);
  server_->Shutdown();
  EXPECT_THAT(log_.str(), HasSubstr("\"event\":\"adapter_audit_ended\""));
  EXPECT_THAT(log_.str(), HasSubstr("\"result\":\"drifted\""));
}

TEST_F(AdapterAuditRpcsTest, OnlyTheProviderAsksForAnAuditAndIsWrittenDown) {
  for (const std::string& key : {acme_key_, rival_key_, worker_key_}) {
    EXPECT_THAT(Audit(key, Request()), FailsWith(grpc::StatusCode::PERMISSION_DENIED));
    v1::ListAllAdapterAuditsResponse all;
    EXPECT_THAT(Call(&Admin::ListAllAdapterAudits, key, v1::ListAllAdapterAuditsRequest(), all),
                FailsWith(grpc::StatusCode::PERMISSION_DENIED));
  }
  auto request = Request();
  request.clear_reason();
  EXPECT_THAT(Audit(provider_key_, request), FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
  request = Request();
  request.set_name("tenants/acme/adapters/none");
  EXPECT_THAT(Audit(provider_key_, request), FailsWith(grpc::StatusCode::NOT_FOUND));
  // The second call repeats the first answer; under another id it would be a second open one.
  ASSERT_THAT(Audit(provider_key_, Request()), Succeeds());
  const std::string name = audit_.name();
  ASSERT_THAT(Audit(provider_key_, Request()), Succeeds());
  EXPECT_EQ(audit_.name(), name);
  request = Request();
  request.clear_request_id();
  EXPECT_THAT(Audit(provider_key_, request), FailsWith(grpc::StatusCode::FAILED_PRECONDITION));

  v1::ListAuditEventsResponse events;
  ASSERT_THAT(Call(&Admin::ListAuditEvents, provider_key_, v1::ListAuditEventsRequest(), events),
              Succeeds());
  ASSERT_EQ(events.events_size(), 2);
  EXPECT_EQ(events.events(0).action(), "audit_adapter");
  EXPECT_EQ(events.events(0).resource(), adapter_);
  EXPECT_EQ(events.events(0).reason(), "a complaint");
}

TEST_F(AdapterAuditRpcsTest, OnlyItsTenantSeesTheAudits) {
  ASSERT_THAT(Audit(provider_key_, Request()), Succeeds());
  EXPECT_EQ(List(acme_key_).audits_size(), 1);
  EXPECT_THAT(listed_, Succeeds());
  EXPECT_EQ(List(rival_key_).audits_size(), 0);
  EXPECT_THAT(listed_, FailsWith(grpc::StatusCode::NOT_FOUND));
  const Outcome foreign = listed_;
  adapter_ = "tenants/rival/adapters/none";
  List(rival_key_);
  EXPECT_EQ(listed_, foreign);
  List(worker_key_);
  EXPECT_THAT(listed_, FailsWith(grpc::StatusCode::PERMISSION_DENIED));
}

TEST_F(AdapterAuditRpcsTest, AWorkersResultMustBeTheAuditsScore) {
  ASSERT_THAT(Audit(provider_key_, Request()), Succeeds());
  const v1::Lease lease = LeaseWork();
  EXPECT_THAT(UploadArtifact(lease, v1::UploadArtifactRequest::KIND_ADAPTER, "adapter"),
              FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(UploadArtifact(lease, v1::UploadArtifactRequest::KIND_CHECKPOINT, "checkpoint"),
              FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
  v1::CompleteJobRequest other = GoodResult(lease, "");
  other.mutable_fine_tuning();
  EXPECT_THAT(Complete(other), FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
  other = GoodResult(lease, "");
  other.mutable_audit()->mutable_safety()->set_suite_sha256(std::string(64, 'a'));
  EXPECT_THAT(Complete(other), FailsWith(grpc::StatusCode::INVALID_ARGUMENT, "PROOF_REJECTED"));
  other = GoodResult(lease, "");
  other.mutable_audit()->clear_safety_base();
  EXPECT_THAT(Complete(other), FailsWith(grpc::StatusCode::INVALID_ARGUMENT, "PROOF_REJECTED"));
  // What was scored must be the adapter, on the base that it was trained on, and be named.
  const std::string unknown(64, 'a');
  other = GoodResult(lease, "");
  other.mutable_audit()->set_base_sha256(unknown);
  EXPECT_THAT(Complete(other), FailsWith(grpc::StatusCode::INVALID_ARGUMENT, "PROOF_REJECTED"));
  other = GoodResult(lease, "");
  other.mutable_audit()->clear_scored_base_sha256();
  EXPECT_THAT(Complete(other), FailsWith(grpc::StatusCode::INVALID_ARGUMENT, "PROOF_REJECTED"));
  other = GoodResult(lease, "");
  other.mutable_audit()->set_adapter_sha256(unknown);
  EXPECT_THAT(Complete(other), FailsWith(grpc::StatusCode::INVALID_ARGUMENT, "PROOF_REJECTED"));
  EXPECT_THAT(Complete(GoodResult(lease, "")), Succeeds());
}

TEST_F(AdapterAuditRpcsTest, AFailedAuditIsShownWithItsReason) {
  ASSERT_THAT(Audit(provider_key_, Request()), Succeeds());
  const v1::Lease lease = LeaseWork();
  v1::FailJobRequest failure;
  failure.set_work(lease.work());
  failure.set_attempt(lease.attempt());
  failure.set_error_code("INPUT_INVALID");
  failure.set_error_message("no tar file");
  v1::FailJobResponse response;
  ASSERT_THAT(Call(&v1::WorkerService::Stub::FailJob, worker_key_, failure, response), Succeeds());
  const v1::AdapterAudit audit = List(acme_key_).audits(0);
  EXPECT_EQ(audit.state(), v1::AdapterAudit::STATE_FAILED);
  EXPECT_EQ(audit.error_code(), "INPUT_INVALID");
  EXPECT_FALSE(audit.has_safety());
  EXPECT_TRUE(audit.has_end_time());
  EXPECT_EQ(ListAll(true).audits_size(), 0);
  server_->Shutdown();
  EXPECT_THAT(log_.str(), HasSubstr("\"result\":\"failed\",\"reason\":\"INPUT_INVALID\""));
}

TEST_F(AdapterAuditRpcsTest, AnAuditWhoseWorkersVanishFails) {
  ASSERT_THAT(Audit(provider_key_, Request()), Succeeds());
  for (int attempt = 0; attempt < options_.max_attempts; ++attempt) {
    EXPECT_TRUE(LeaseWork().has_audit());
    clock_.Advance(options_.limits.lease_duration);
    server_->RunDuties();
  }
  const v1::AdapterAudit audit = List(acme_key_).audits(0);
  EXPECT_EQ(audit.state(), v1::AdapterAudit::STATE_FAILED);
  EXPECT_EQ(audit.error_code(), "MAX_ATTEMPTS_EXCEEDED");
  EXPECT_EQ(audit.attempt(), options_.max_attempts);
  server_->Shutdown();
  EXPECT_THAT(log_.str(), HasSubstr("\"reason\":\"MAX_ATTEMPTS_EXCEEDED\""));
}

}  // namespace
}  // namespace wardtune
