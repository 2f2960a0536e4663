// The scan of rows through the API: the policy's terms in the lease, what a worker may report, and
// what the customer sees of it.
#include <string>

#include "server/testing/server_fixture.h"

namespace wardtune {
namespace {

using testing::FailsWith;
using ::testing::HasSubstr;
using testing::Outcome;
using testing::Succeeds;
using v1::FineTuningJob;
using v1::RowScanPolicy;

class RowScanRpcsTest : public testing::ServerFixture {
 protected:
  RowScanRpcsTest() {
    StartServer();
    AddTenants();
    ActivateVector();
  }

  void SetPolicy(const RowScanPolicy& scan) {
    v1::SetSafetyPolicyRequest request;
    for (const char* category : {"all", "*"}) {
      v1::SafetyBound& bound = *request.mutable_policy()->add_bounds();
      bound.set_category(category);
      bound.set_max_rate(1);
      bound.set_max_rise(1);
    }
    *request.mutable_policy()->mutable_row_scan() = scan;
    request.set_reason("trial");
    v1::SetSafetyPolicyResponse response;
    ASSERT_THAT(Call(&v1::AdminService::Stub::SetSafetyPolicy, provider_key_, request, response),
                Succeeds());
  }
  void SetAction(RowScanPolicy::Action action) {
    RowScanPolicy scan;
    scan.set_action(action);
    SetPolicy(scan);
  }

  // What the fixture's worker finds by the lease's terms.
  v1::RowScanOutcome ScanFor(const v1::Lease& lease) {
    return GoodResult(lease, "adapter").fine_tuning().row_scan();
  }

  Outcome Beat(const v1::Lease& lease, const v1::RowScanOutcome& scan) {
    v1::HeartbeatRequest request;
    request.set_work(lease.work());
    request.set_attempt(lease.attempt());
    request.set_phase(FineTuningJob::PHASE_SCANNING_ROWS);
    *request.mutable_row_scan() = scan;
    v1::HeartbeatResponse response;
    return Call(&v1::WorkerService::Stub::Heartbeat, worker_key_, request, response);
  }

  Outcome Fail(const v1::Lease& lease, const char* code, bool retryable,
               const v1::RowScanOutcome& scan) {
    v1::FailJobRequest request;
    request.set_work(lease.work());
    request.set_attempt(lease.attempt());
    request.set_error_code(code);
    request.set_retryable(retryable);
    *request.mutable_row_scan() = scan;
    v1::FailJobResponse response;
    return Call(&v1::WorkerService::Stub::FailJob, worker_key_, request, response);
  }
};

TEST_F(RowScanRpcsTest, AFreshServerWarnsAndTheCustomerSeesTheLines) {
  const std::string name = AddJob(acme_key_);
  EXPECT_EQ(GetJob(acme_key_, name).estimate().row_scan(), RowScanPolicy::ACTION_WARN);
  const v1::Lease lease = LeaseWork();
  EXPECT_EQ(lease.fine_tuning().row_scan().policy().action(), RowScanPolicy::ACTION_WARN);
  EXPECT_FALSE(lease.fine_tuning().row_scan().has_recorded());
  EXPECT_FALSE(GetJob(acme_key_, name).has_row_scan());
  ASSERT_THAT(Beat(lease, ScanFor(lease)), Succeeds());

  const v1::RowScanReport report = GetJob(acme_key_, name).row_scan();
  EXPECT_EQ(report.rows_scanned(), 9);
  EXPECT_EQ(report.suspicious_rows(), 2);
  EXPECT_EQ(report.dropped_rows(), 0);
  ASSERT_EQ(report.rows_size(), 2);
  EXPECT_EQ(report.rows(1).line(), 9);
  EXPECT_EQ(report.rows(1).explained_share(), 0.75);
  EXPECT_EQ(report.security_vector_version(), "securityVectors/shield/versions/1");

  v1::ListFineTuningJobsResponse list;
  ASSERT_THAT(Call(&v1::FineTuningService::Stub::ListFineTuningJobs, acme_key_,
                   v1::ListFineTuningJobsRequest(), list),
              Succeeds());
  EXPECT_EQ(list.jobs(0).row_scan().suspicious_rows(), 2);
  EXPECT_EQ(list.jobs(0).row_scan().rows_size(), 0);
  v1::GetFineTuningJobRequest foreign;
  foreign.set_name(name);
  v1::GetFineTuningJobResponse got;
  EXPECT_THAT(Call(&v1::FineTuningService::Stub::GetFineTuningJob, rival_key_, foreign, got),
              FailsWith(grpc::StatusCode::NOT_FOUND));
}

TEST_F(RowScanRpcsTest, TheNextAttemptGetsWhatWasDropped) {
  SetAction(RowScanPolicy::ACTION_DROP);
  const std::string name = AddJob(acme_key_);
  const v1::Lease first = LeaseWork();
  const v1::RowScanOutcome found = ScanFor(first);
  ASSERT_THAT(Beat(first, found), Succeeds());
  ASSERT_THAT(Fail(first, "WORKER_STOPPING", true, {}), Succeeds());
  // A change meanwhile is for jobs that start later.
  SetAction(RowScanPolicy::ACTION_OFF);
  const v1::Lease second = LeaseWork();
  const v1::RowScanWork& scan = second.fine_tuning().row_scan();
  EXPECT_EQ(scan.policy().action(), RowScanPolicy::ACTION_DROP);
  EXPECT_EQ(scan.policy_version(), 1);
  EXPECT_EQ(scan.recorded().SerializeAsString(), found.SerializeAsString());
  ASSERT_THAT(UploadArtifact(second, v1::UploadArtifactRequest::KIND_ADAPTER, "adapter"),
              Succeeds());
  ASSERT_THAT(Complete(GoodResult(second, "adapter")), Succeeds());
  const FineTuningJob job = GetJob(acme_key_, name);
  EXPECT_EQ(job.row_scan().dropped_rows(), 2);
  EXPECT_EQ(job.proof().rows_dropped(), 2);

  AddJob(acme_key_);
  EXPECT_FALSE(LeaseWork().fine_tuning().has_row_scan());
}

TEST_F(RowScanRpcsTest, AResultMustTellOfTheScanThatWasMade) {
  SetAction(RowScanPolicy::ACTION_DROP);
  AddJob(acme_key_);
  const v1::Lease lease = LeaseWork();
  ASSERT_THAT(Beat(lease, ScanFor(lease)), Succeeds());
  ASSERT_THAT(UploadArtifact(lease, v1::UploadArtifactRequest::KIND_ADAPTER, "adapter"),
              Succeeds());
  const auto complete = [&](auto change) {
    v1::CompleteJobRequest request = GoodResult(lease, "adapter");
    change(*request.mutable_fine_tuning());
    return Complete(request);
  };
  using Result = v1::FineTuningResult&;
  const auto rejected = FailsWith(grpc::StatusCode::INVALID_ARGUMENT, "PROOF_REJECTED");
  EXPECT_THAT(complete([](Result r) { r.clear_row_scan(); }), rejected);
  EXPECT_THAT(complete([](Result r) {
                r.mutable_row_scan()->mutable_report()->mutable_rows(0)->set_line(4);
              }),
              rejected);
  EXPECT_THAT(complete([](Result r) { r.mutable_proof()->set_rows_dropped(0); }), rejected);
  EXPECT_THAT(complete([](Result) {}), Succeeds());
}

TEST_F(RowScanRpcsTest, ARefusedJobKeepsItsReport) {
  SetAction(RowScanPolicy::ACTION_REFUSE);
  const std::string name = AddJob(acme_key_);
  const v1::Lease lease = LeaseWork();
  ASSERT_THAT(Fail(lease, "ROWS_SUSPICIOUS", false, ScanFor(lease)), Succeeds());
  const FineTuningJob job = GetJob(acme_key_, name);
  EXPECT_EQ(job.state(), FineTuningJob::STATE_FAILED);
  EXPECT_EQ(job.error_code(), "ROWS_SUSPICIOUS");
  EXPECT_EQ(job.row_scan().suspicious_rows(), 2);
}

TEST_F(RowScanRpcsTest, TheProviderMayHideLinesAndShares) {
  RowScanPolicy scan;
  scan.set_action(RowScanPolicy::ACTION_WARN);
  scan.set_hide_rows_from_tenants(true);
  SetPolicy(scan);
  const std::string name = AddJob(acme_key_);
  const v1::Lease lease = LeaseWork();
  v1::RowScanOutcome telling = ScanFor(lease);
  ASSERT_EQ(telling.report().rows_size(), 0);
  telling.mutable_report()->add_rows()->set_line(3);
  EXPECT_THAT(Beat(lease, telling), FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
  ASSERT_THAT(Beat(lease, ScanFor(lease)), Succeeds());
  const v1::RowScanReport report = GetJob(acme_key_, name).row_scan();
  EXPECT_TRUE(report.rows_hidden());
  EXPECT_EQ(report.suspicious_rows(), 2);
  EXPECT_EQ(report.rows_size(), 0);
}

TEST_F(RowScanRpcsTest, AReportThatContradictsItselfOrTheLeaseIsRefused) {
  SetAction(RowScanPolicy::ACTION_DROP);
  const std::string name = AddJob(acme_key_);
  const v1::Lease lease = LeaseWork();
  const auto expect_refused = [&](auto change, const char* field) {
    v1::RowScanOutcome scan = ScanFor(lease);
    change(scan, *scan.mutable_report());
    const Outcome outcome = Beat(lease, scan);
    EXPECT_THAT(outcome, FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
    EXPECT_THAT(outcome.message, HasSubstr(field));
  };
  using Scan = v1::RowScanOutcome&;
  using Report = v1::RowScanReport&;
  expect_refused([](Scan s, Report) { s.clear_report(); }, "report");
  expect_refused([](Scan, Report r) { r.set_action(RowScanPolicy::ACTION_WARN); }, "report");
  expect_refused([](Scan, Report r) { r.set_policy_version(7); }, "report");
  expect_refused([](Scan, Report r) { r.set_suspicious_share(1.5); }, "report");
  expect_refused([](Scan, Report r) { r.set_security_vector_version("x"); },
                 "report.security_vector_version");
  expect_refused([](Scan, Report r) { r.set_rows_scanned(0); }, "report.rows_scanned");
  expect_refused([](Scan, Report r) { r.set_suspicious_rows(10); }, "report.suspicious_rows");
  expect_refused([](Scan, Report r) { r.set_dropped_rows(1); }, "report.dropped_rows");
  expect_refused([](Scan, Report r) { r.mutable_rows()->RemoveLast(); }, "report.rows");
  expect_refused([](Scan, Report r) { r.mutable_rows(0)->set_line(9); }, "report.rows.line");
  expect_refused([](Scan, Report r) { r.mutable_rows(0)->set_explained_share(1.5); },
                 "report.rows.explained_share");
  expect_refused([](Scan s, Report) { s.set_dropped("\x06\x01"); }, "dropped");
  expect_refused([](Scan s, Report) { s.set_dropped("\x04\x02"); }, "dropped");
  expect_refused([](Scan s, Report) { s.set_dropped("\x05"); }, "dropped");
  EXPECT_FALSE(GetJob(acme_key_, name).has_row_scan());

  SetAction(RowScanPolicy::ACTION_OFF);
  AddJob(acme_key_);
  const v1::Lease unasked = LeaseWork();
  EXPECT_THAT(Beat(unasked, ScanFor(lease)), FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
}

}  // namespace
}  // namespace wardtune
