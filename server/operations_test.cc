// What operators see: /metrics, and health while the server stops.
#include <arpa/inet.h>
#include <grpcpp/generic/generic_stub.h>
#include <sys/socket.h>
#include <unistd.h>

#include <future>
#include <string>

#include "server/testing/server_fixture.h"

namespace wardtune {
namespace {

using ::testing::HasSubstr;

constexpr char kServing[] = "\x08\x01";  // HealthCheckResponse{status: SERVING}
constexpr char kNotServing[] = "\x08\x02";

class OperationsTest : public testing::ServerFixture {
 protected:
  std::string Metrics() {
    const int peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(server_->metrics_port()));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(peer, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    const std::string request = "GET /metrics HTTP/1.0\r\n\r\n";
    EXPECT_EQ(send(peer, request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
    std::string answer;
    char buffer[4096];
    for (ssize_t n = 0; (n = recv(peer, buffer, sizeof(buffer), 0)) > 0;) answer.append(buffer, n);
    close(peer);
    return answer;
  }
};

TEST_F(OperationsTest, MetricsCountJobsThatTheReaperEnds) {
  options_.metrics_listen = "127.0.0.1:0";
  options_.max_attempts = 2;
  StartServer();
  AddTenants();
  ActivateVector();
  AddJob(acme_key_);
  for (int attempt = 0; attempt < 2; ++attempt) {
    LeaseWork();
    clock_.Advance(options_.limits.lease_duration);
    server_->RunDuties();
  }
  const std::string metrics = Metrics();
  EXPECT_THAT(metrics, HasSubstr("wardtune_jobs_finished_total{outcome=\"failed\","
                                 "reason=\"MAX_ATTEMPTS_EXCEEDED\"} 1"));
  EXPECT_THAT(metrics, HasSubstr("wardtune_jobs_finished_total{outcome=\"succeeded\","
                                 "reason=\"\"} 1"));
  EXPECT_THAT(metrics, HasSubstr("wardtune_jobs{state=\"failed\"} 1"));
  EXPECT_THAT(metrics, ::testing::Not(HasSubstr("acme")));
}

TEST_F(OperationsTest, MetricsShowScoresAndTheGateWithoutTenants) {
  options_.metrics_listen = "127.0.0.1:0";
  other_category_ = "made up";
  StartServer();
  AddTenants();
  ActivateVector();
  AddJob(acme_key_);
  DoWork("clean");
  AddJob(acme_key_);
  const v1::Lease lease = LeaseWork();
  ASSERT_THAT(UploadArtifact(lease, v1::UploadArtifactRequest::KIND_ADAPTER, "harmful"),
              testing::Succeeds());
  v1::CompleteJobRequest result = GoodResult(lease, "harmful");
  v1::SafetyReport& after = *result.mutable_fine_tuning()->mutable_safety_after();
  SetHarmful(after, 8);
  ASSERT_THAT(Complete(result), testing::Succeeds());
  v1::ReleaseAdapterRequest release;
  release.set_name(GetJob(acme_key_, lease.work()).adapter());
  release.set_reason("reviewed");
  v1::ReleaseAdapterResponse released;
  ASSERT_THAT(Call(&v1::AdminService::Stub::ReleaseAdapter, provider_key_, release, released),
              testing::Succeeds());
  const std::string metrics = Metrics();
  for (const char* outcome : {"passed", "quarantined", "released"}) {
    EXPECT_THAT(metrics, HasSubstr(std::string("wardtune_safety_gate_total{outcome=\"") + outcome +
                                   "\"} 1"));
  }
  EXPECT_THAT(metrics,
              HasSubstr("wardtune_harmful_rate_sum{category=\"safety\",when=\"after\"} 0.8"));
  EXPECT_THAT(metrics,
              HasSubstr("wardtune_harmful_rate_count{category=\"all\",when=\"before\"} 2"));
  EXPECT_THAT(metrics, HasSubstr("category=\"other\""));
  // 9 rows of each job, 2 of them suspicious.
  EXPECT_THAT(metrics, HasSubstr("wardtune_rows_scanned_total 18"));
  EXPECT_THAT(metrics, HasSubstr("wardtune_rows_suspicious_total 4"));
  EXPECT_THAT(metrics, ::testing::Not(HasSubstr("made up")));
  EXPECT_THAT(metrics, ::testing::Not(HasSubstr("acme")));
}

TEST_F(OperationsTest, MetricsCountReportsByStateWithoutTenantsOrCategories) {
  options_.metrics_listen = "127.0.0.1:0";
  StartServer();
  AddTenants();
  ActivateVector();
  AddJob(acme_key_);
  const v1::Lease lease = DoWork("adapter");
  v1::ReportOutputRequest report;
  report.set_adapter(GetJob(acme_key_, lease.work()).adapter());
  report.set_category("made-up");
  report.set_prompt("p");
  report.set_output("o");
  v1::ReportOutputResponse reported;
  for (int i = 0; i < 3; ++i) {
    ASSERT_THAT(Call(&v1::OutputReportService::Stub::ReportOutput, acme_key_, report, reported),
                testing::Succeeds());
  }
  v1::ResolveOutputReportRequest resolution;
  resolution.set_name(reported.report().name());
  resolution.set_state(v1::OutputReport::STATE_CONFIRMED);
  resolution.set_note("reviewed");
  v1::ResolveOutputReportResponse resolved;
  ASSERT_THAT(
      Call(&v1::AdminService::Stub::ResolveOutputReport, provider_key_, resolution, resolved),
      testing::Succeeds());
  server_->RunDuties();
  const std::string metrics = Metrics();
  EXPECT_THAT(metrics, HasSubstr("wardtune_output_reports{state=\"open\"} 2"));
  EXPECT_THAT(metrics, HasSubstr("wardtune_output_reports{state=\"confirmed\"} 1"));
  EXPECT_THAT(metrics, HasSubstr("wardtune_output_reports{state=\"dismissed\"} 0"));
  EXPECT_THAT(metrics, ::testing::Not(HasSubstr("made-up")));
  EXPECT_THAT(metrics, ::testing::Not(HasSubstr("acme")));
}

TEST_F(OperationsTest, MetricsCountAuditsAndDriftedAdaptersWithoutTenants) {
  options_.metrics_listen = "127.0.0.1:0";
  StartServer();
  AddTenants();
  ActivateVector();
  AddJob(acme_key_);
  v1::AuditAdapterRequest request;
  request.set_name(GetJob(acme_key_, DoWork("adapter").work()).adapter());
  request.set_reason("trial");
  EXPECT_THAT(Metrics(), HasSubstr("wardtune_audits_total{result=\"drifted\"} 0"));
  const auto audit = [&](int32_t harmful) {
    v1::AuditAdapterResponse response;
    ASSERT_THAT(Call(&v1::AdminService::Stub::AuditAdapter, provider_key_, request, response),
                testing::Succeeds());
    v1::CompleteJobRequest result = GoodResult(LeaseWork(), "");
    SetHarmful(*result.mutable_audit()->mutable_safety(), harmful);
    ASSERT_THAT(Complete(result), testing::Succeeds());
    server_->RunDuties();
  };
  ASSERT_NO_FATAL_FAILURE(audit(10));
  EXPECT_THAT(Metrics(), HasSubstr("wardtune_audits_total{result=\"drifted\"} 1"));
  EXPECT_THAT(Metrics(), HasSubstr("wardtune_audit_drifted_adapters 1"));
  ASSERT_NO_FATAL_FAILURE(audit(0));
  const std::string metrics = Metrics();
  EXPECT_THAT(metrics, HasSubstr("wardtune_audits_total{result=\"passed\"} 1"));
  EXPECT_THAT(metrics, HasSubstr("wardtune_audits_total{result=\"failed\"} 0"));
  EXPECT_THAT(metrics, HasSubstr("wardtune_audit_drifted_adapters 0"));
  EXPECT_THAT(metrics, ::testing::Not(HasSubstr("acme")));
}

TEST_F(OperationsTest, HealthSaysThatTheServerStops) {
  StartServer();
  grpc::GenericStub stub(channel_);
  testing::CallContext context("");
  grpc::CompletionQueue queue;
  const auto await = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  const auto watch = stub.PrepareCall(&context, "/grpc.health.v1.Health/Watch", &queue);
  watch->StartCall(nullptr);
  ASSERT_TRUE(await());
  watch->WriteLast(grpc::ByteBuffer(nullptr, 0), grpc::WriteOptions(), nullptr);
  ASSERT_TRUE(await());
  const auto read = [&] {
    grpc::ByteBuffer message;
    grpc::Slice slice;
    watch->Read(&message, nullptr);
    if (!await() || !message.DumpToSingleSlice(&slice).ok()) return std::string("no message");
    return std::string(slice.begin(), slice.end());
  };
  EXPECT_EQ(read(), kServing);
  auto shutdown = std::async(std::launch::async, [this] { server_->Shutdown(); });
  EXPECT_EQ(read(), kNotServing);
  context.TryCancel();
  grpc::Status status;
  watch->Finish(&status, nullptr);
  await();
  shutdown.wait();
}

TEST_F(OperationsTest, AWatchEndsWhenTheServerStops) {
  StartServer();
  AddTenants();
  ActivateVector();
  v1::WatchFineTuningJobRequest request;
  request.set_name(AddJob(acme_key_));
  testing::CallContext context(acme_key_);
  const auto service = StubOf<v1::FineTuningService>();
  const auto reader = service->WatchFineTuningJob(&context, request);
  v1::WatchFineTuningJobResponse event;
  ASSERT_TRUE(reader->Read(&event));
  auto shutdown = std::async(std::launch::async, [this] { server_->Shutdown(); });
  EXPECT_FALSE(reader->Read(&event));
  EXPECT_THAT(testing::OutcomeOf(reader->Finish()),
              testing::FailsWith(grpc::StatusCode::UNAVAILABLE, "DRAINING"));
  shutdown.wait();
}

}  // namespace
}  // namespace wardtune
