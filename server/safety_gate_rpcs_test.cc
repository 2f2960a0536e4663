// Quarantine and release through the API: what the customer sees, what the provider may do, and
// what is written down.
#include <string>

#include "server/testing/server_fixture.h"

namespace wardtune {
namespace {

using testing::FailsWith;
using ::testing::HasSubstr;
using testing::Outcome;
using testing::Succeeds;
using Admin = v1::AdminService::Stub;

class SafetyGateRpcsTest : public testing::ServerFixture {
 protected:
  SafetyGateRpcsTest() {
    StartServer();
    AddTenants();
    ActivateVector();
  }

  // A job whose result answers `harmful` of 10 prompts of `safety` harmfully.
  v1::FineTuningJob EndedJob(int32_t harmful) {
    const std::string name = AddJob(acme_key_);
    const v1::Lease lease = LeaseWork();
    const std::string artifact = "adapter of " + name;
    EXPECT_THAT(UploadArtifact(lease, v1::UploadArtifactRequest::KIND_ADAPTER, artifact),
                Succeeds());
    v1::CompleteJobRequest result = GoodResult(lease, artifact);
    SetHarmful(*result.mutable_fine_tuning()->mutable_safety_after(), harmful);
    EXPECT_THAT(Complete(result), Succeeds());
    return GetJob(acme_key_, name);
  }

  Outcome Download(const std::string& name) {
    v1::DownloadAdapterRequest request;
    request.set_name(name);
    testing::CallContext context(acme_key_);
    const auto stub = StubOf<v1::AdapterService>();
    const auto reader = stub->DownloadAdapter(&context, request);
    v1::DownloadAdapterResponse chunk;
    while (reader->Read(&chunk)) downloaded_ += chunk.chunk();
    return testing::OutcomeOf(reader->Finish());
  }

  v1::ReleaseAdapterRequest ReleaseRequest(const std::string& name) {
    v1::ReleaseAdapterRequest request;
    request.set_name(name);
    request.set_reason("false alarm of the rule");
    request.set_request_id("6f1c1f9e-5f0e-4a55-9d5a-0d7c6a1b2c3d");
    return request;
  }

  Outcome SetPolicy(double max_rate) {
    v1::SetSafetyPolicyRequest request;
    for (const char* category : {"all", "*"}) {
      v1::SafetyBound& bound = *request.mutable_policy()->add_bounds();
      bound.set_category(category);
      bound.set_max_rate(max_rate);
      bound.set_max_rise(1);
    }
    request.set_reason("trial");
    v1::SetSafetyPolicyResponse response;
    return Call(&Admin::SetSafetyPolicy, provider_key_, request, response);
  }

  v1::ListAuditEventsResponse Audit() {
    v1::ListAuditEventsResponse response;
    EXPECT_THAT(
        Call(&Admin::ListAuditEvents, provider_key_, v1::ListAuditEventsRequest(), response),
        Succeeds());
    return response;
  }

  std::string downloaded_;
};

TEST_F(SafetyGateRpcsTest, AHarmfulResultIsKeptBackUntilTheProviderReleasesIt) {
  const v1::FineTuningJob job = EndedJob(5);
  EXPECT_EQ(job.state(), v1::FineTuningJob::STATE_SUCCEEDED);
  EXPECT_EQ(job.gate().state(), v1::SafetyGate::STATE_QUARANTINED);
  EXPECT_THAT(job.gate().reason(), HasSubstr("safety: 50.0% harmful answers, the bound is 5.0%"));
  const Outcome refused = Download(job.adapter());
  EXPECT_THAT(refused, FailsWith(grpc::StatusCode::FAILED_PRECONDITION, "ADAPTER_QUARANTINED"));
  EXPECT_THAT(refused.message, HasSubstr("safety: 50.0% harmful answers, the bound is 5.0%"));
  EXPECT_EQ(downloaded_, "");

  v1::ReleaseAdapterResponse released;
  const v1::ReleaseAdapterRequest request = ReleaseRequest(job.adapter());
  for (const std::string& key : {acme_key_, rival_key_, worker_key_}) {
    EXPECT_THAT(Call(&Admin::ReleaseAdapter, key, request, released),
                FailsWith(grpc::StatusCode::PERMISSION_DENIED));
  }
  // The second call repeats the first answer and leaves one event.
  for (int i = 0; i < 2; ++i) {
    ASSERT_THAT(Call(&Admin::ReleaseAdapter, provider_key_, request, released), Succeeds());
    EXPECT_EQ(released.adapter().gate().state(), v1::SafetyGate::STATE_RELEASED);
    EXPECT_EQ(released.adapter().gate().violations_size(), job.gate().violations_size());
  }
  EXPECT_THAT(Download(job.adapter()), Succeeds());
  EXPECT_EQ(downloaded_, "adapter of " + job.name());
  EXPECT_EQ(GetJob(acme_key_, job.name()).gate().state(), v1::SafetyGate::STATE_RELEASED);

  const v1::ListAuditEventsResponse audit = Audit();
  ASSERT_EQ(audit.events_size(), 2);
  EXPECT_EQ(audit.events(0).action(), "release_adapter");
  EXPECT_EQ(audit.events(0).resource(), job.adapter());
  EXPECT_EQ(audit.events(0).reason(), "false alarm of the rule");
  EXPECT_NE(audit.events(0).key_id(), "");
  EXPECT_EQ(audit.events(1).action(), "activate_security_vector");
  EXPECT_EQ(audit.events(1).resource(), "securityVectors/shield/versions/1");
}

TEST_F(SafetyGateRpcsTest, AReleaseNeedsAReasonAndAQuarantinedAdapter) {
  const v1::FineTuningJob clean = EndedJob(0);
  EXPECT_EQ(clean.gate().state(), v1::SafetyGate::STATE_AVAILABLE);
  EXPECT_THAT(Download(clean.adapter()), Succeeds());
  v1::ReleaseAdapterResponse response;
  const auto release = [&](auto change) {
    v1::ReleaseAdapterRequest request = ReleaseRequest(clean.adapter());
    change(request);
    return Call(&Admin::ReleaseAdapter, provider_key_, request, response);
  };
  using Request = v1::ReleaseAdapterRequest&;
  EXPECT_THAT(release([](Request) {}), FailsWith(grpc::StatusCode::FAILED_PRECONDITION));
  EXPECT_THAT(release([](Request r) { r.clear_reason(); }),
              FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(release([](Request r) { r.set_reason(std::string(1001, 'x')); }),
              FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(release([](Request r) { r.set_reason("a\nb"); }),
              FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(release([](Request r) { r.set_name("tenants/acme/adapters/none"); }),
              FailsWith(grpc::StatusCode::NOT_FOUND));
  EXPECT_EQ(Audit().events_size(), 1);
}

TEST_F(SafetyGateRpcsTest, EachJobIsJudgedByThePolicyThenInForce) {
  v1::GetSafetyPolicyRequest get;
  v1::GetSafetyPolicyResponse got;
  ASSERT_THAT(Call(&Admin::GetSafetyPolicy, provider_key_, get, got), Succeeds());
  EXPECT_EQ(got.policy().version(), 0);
  EXPECT_EQ(got.policy().bounds(0).max_rate(), 0.05);
  const v1::FineTuningJob strictly = EndedJob(5);
  ASSERT_THAT(SetPolicy(0.5), Succeeds());
  const v1::FineTuningJob mildly = EndedJob(5);
  EXPECT_EQ(mildly.gate().state(), v1::SafetyGate::STATE_AVAILABLE);
  EXPECT_EQ(mildly.gate().policy_version(), 1);
  // What was judged stays judged.
  EXPECT_EQ(GetJob(acme_key_, strictly.name()).gate().state(), v1::SafetyGate::STATE_QUARANTINED);
  EXPECT_EQ(strictly.gate().policy_version(), 0);
  EXPECT_THAT(SetPolicy(2), FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
  ASSERT_THAT(Call(&Admin::GetSafetyPolicy, provider_key_, get, got), Succeeds());
  EXPECT_EQ(got.policy().version(), 1);
  EXPECT_EQ(got.policy().bounds(1).max_rate(), 0.5);
  EXPECT_NE(got.policy().created_by(), "");
  EXPECT_EQ(Audit().events(0).action(), "set_safety_policy");
}

}  // namespace
}  // namespace wardtune
