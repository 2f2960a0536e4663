// The scan of rows through the API: the policy's terms in the lease, what a worker may report, and
// what the customer sees of it.
#include <string>

#include "server/testing/server_fixture.h"

namespace wardtune {
namespace {

using ::testing::ElementsAre;
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

  void SetPolicy(const RowScanPolicy& scan, int32_t scored_checkpoints = 0) {
    v1::SetSafetyPolicyRequest request;
    for (const char* category : {"all", "*"}) {
      v1::SafetyBound& bound = *request.mutable_policy()->add_bounds();
      bound.set_category(category);
      bound.set_max_rate(1);
      bound.set_max_rise(1);
    }
    *request.mutable_policy()->mutable_row_scan() = scan;
    request.mutable_policy()->set_scored_checkpoints(scored_checkpoints);
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
  EXPECT_EQ(report.rows(1).part(), 1);
  EXPECT_EQ(report.rows(1).part_share(), 0.7);
  ASSERT_EQ(report.parts_size(), 1);
  EXPECT_EQ(report.parts(0).suspicious_rows(), 2);
  EXPECT_THAT(report.parts(0).part().categories(), ElementsAre("safety"));
  EXPECT_EQ(report.security_vector_version(), "securityVectors/shield/versions/1");

  v1::ListFineTuningJobsResponse list;
  ASSERT_THAT(Call(&v1::FineTuningService::Stub::ListFineTuningJobs, acme_key_,
                   v1::ListFineTuningJobsRequest(), list),
              Succeeds());
  EXPECT_EQ(list.jobs(0).row_scan().suspicious_rows(), 2);
  EXPECT_EQ(list.jobs(0).row_scan().rows_size(), 0);
  EXPECT_EQ(list.jobs(0).row_scan().parts_size(), 0);
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

TEST_F(RowScanRpcsTest, EveryAttemptScoresAsManyCheckpointsAsThePolicyOfTheFirst) {
  SetPolicy(RowScanPolicy(), 5);
  AddJob(acme_key_);
  const v1::Lease first = LeaseWork();
  EXPECT_EQ(first.fine_tuning().scored_checkpoints(), 5);
  ASSERT_THAT(Fail(first, "WORKER_STOPPING", true, {}), Succeeds());
  SetPolicy(RowScanPolicy());
  EXPECT_EQ(LeaseWork().fine_tuning().scored_checkpoints(), 5);
  AddJob(acme_key_);
  EXPECT_EQ(LeaseWork().fine_tuning().scored_checkpoints(), 3);
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
  EXPECT_EQ(report.parts(0).suspicious_rows(), 2) << "counts are not hidden";
}

// A job whose vector is the sum of two parts, which a worker reports on.
class ScanByPartsTest : public RowScanRpcsTest {
 protected:
  ScanByPartsTest() {
    v1::TrainSecurityVectorRequest train;
    train.set_security_vector_id("sum");
    train.set_base_model("baseModels/tiny");
    train.set_harmful_dataset(AddReadyDataset(provider_key_));
    train.set_general_dataset(AddReadyDataset(provider_key_));
    train.set_safety_suite("safetySuites/suite");
    v1::TrainSecurityVectorResponse queued;
    EXPECT_THAT(
        Call(&v1::SecurityVectorService::Stub::TrainSecurityVector, provider_key_, train, queued),
        Succeeds());
    const v1::Lease training = LeaseWork();
    EXPECT_THAT(UploadArtifact(training, v1::UploadArtifactRequest::KIND_SECURITY_VECTOR, "sum"),
                Succeeds());
    vector_ = GoodResult(training, "sum");
    v1::SecurityVectorResult& result = *vector_.mutable_security_vector();
    result.clear_parts();
    result.add_categories("privacy");
    for (const char* category : {"privacy", "safety"}) {
      result.add_parts()->add_categories(category);
    }
    version_ = training.security_vector().version();
  }

  void Activate() {
    ASSERT_THAT(Complete(vector_), Succeeds());
    v1::ActivateSecurityVectorVersionRequest request;
    request.set_name(version_);
    v1::ActivateSecurityVectorVersionResponse response;
    ASSERT_THAT(Call(&v1::SecurityVectorService::Stub::ActivateSecurityVectorVersion, provider_key_,
                     request, response),
                Succeeds());
    EXPECT_EQ(response.version().parts_size(), 2);
    EXPECT_EQ(response.version().parts(1).categories(0), "safety");
  }

  // The first row looks like the second part, the second like none.
  v1::RowScanOutcome ScanByParts(const v1::Lease& lease) {
    v1::RowScanOutcome scan = ScanFor(lease);
    v1::RowScanReport& report = *scan.mutable_report();
    report.clear_parts();
    for (const v1::SecurityVectorPart& part : vector_.security_vector().parts()) {
      *report.add_parts()->mutable_part() = part;
    }
    report.mutable_parts(1)->set_suspicious_rows(1);
    report.mutable_rows(0)->set_part(2);
    report.mutable_rows(1)->clear_part();
    report.mutable_rows(1)->clear_part_share();
    return scan;
  }

  v1::CompleteJobRequest vector_;
  std::string version_;
};

TEST_F(ScanByPartsTest, RowsAreCountedByThePartsThatTheVersionRecords) {
  Activate();
  const std::string name = AddJob(acme_key_);
  const v1::Lease lease = LeaseWork();
  ASSERT_EQ(lease.fine_tuning().security_vector_version(), version_);
  const auto expect_refused = [&](auto change, const char* field) {
    v1::RowScanOutcome scan = ScanByParts(lease);
    change(*scan.mutable_report());
    const Outcome outcome = Beat(lease, scan);
    EXPECT_THAT(outcome, FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
    EXPECT_THAT(outcome.message, HasSubstr(field));
  };
  using Report = v1::RowScanReport&;
  expect_refused([](Report r) { r.mutable_parts()->RemoveLast(); }, "report.parts");
  expect_refused([](Report r) { r.mutable_parts(0)->mutable_part()->set_categories(0, "rude"); },
                 "report.parts");
  expect_refused([](Report r) { r.mutable_parts(1)->set_suspicious_rows(3); },
                 "report.parts.suspicious_rows");
  expect_refused([](Report r) { r.mutable_parts(0)->set_suspicious_rows(1); },
                 "report.parts.suspicious_rows");
  expect_refused([](Report r) { r.mutable_parts(0)->set_suspicious_rows(-1); },
                 "report.parts.suspicious_rows");
  expect_refused([](Report r) { r.mutable_rows(0)->set_part(3); }, "report.rows.part");
  expect_refused([](Report r) { r.mutable_rows(0)->set_part(-1); }, "report.rows.part");
  expect_refused([](Report r) { r.mutable_rows(1)->set_part_share(0.5); },
                 "report.rows.part_share");
  expect_refused([](Report r) { r.mutable_rows(0)->set_part_share(1.5); },
                 "report.rows.part_share");
  EXPECT_FALSE(GetJob(acme_key_, name).has_row_scan());
  ASSERT_THAT(Beat(lease, ScanByParts(lease)), Succeeds());
  const v1::RowScanReport report = GetJob(acme_key_, name).row_scan();
  EXPECT_EQ(report.parts(0).suspicious_rows(), 0);
  EXPECT_EQ(report.parts(1).suspicious_rows(), 1);
  EXPECT_EQ(report.rows(0).part(), 2);
  EXPECT_EQ(report.rows(1).part(), 0);
}

TEST_F(ScanByPartsTest, AReportOfAWorkerFromBeforePartsIsTaken) {
  Activate();
  const std::string name = AddJob(acme_key_);
  const v1::Lease lease = LeaseWork();
  v1::RowScanOutcome scan = ScanByParts(lease);
  scan.mutable_report()->clear_parts();
  scan.mutable_report()->mutable_rows(0)->clear_part();
  scan.mutable_report()->mutable_rows(0)->clear_part_share();
  ASSERT_THAT(Beat(lease, scan), Succeeds());
  EXPECT_EQ(GetJob(acme_key_, name).row_scan().parts_size(), 0);
}

TEST_F(ScanByPartsTest, AVersionsPartsAreBoundedAndOfItsCategories) {
  const auto expect_refused = [&](auto change) {
    v1::CompleteJobRequest request = vector_;
    change(*request.mutable_security_vector());
    EXPECT_THAT(Complete(request), FailsWith(grpc::StatusCode::INVALID_ARGUMENT, "PROOF_REJECTED"));
  };
  using Result = v1::SecurityVectorResult&;
  expect_refused([](Result r) { r.mutable_parts(0)->set_categories(0, "rude"); });
  expect_refused([](Result r) { r.mutable_parts(0)->clear_categories(); });
  expect_refused([](Result r) {
    for (int i = 0; i < 63; ++i) *r.add_parts() = r.parts(0);
  });
  expect_refused([](Result r) {
    for (int i = 0; i < 32; ++i) r.mutable_parts(0)->add_categories("privacy");
  });
  Activate();
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
