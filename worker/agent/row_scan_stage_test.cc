// The scan of a customer's rows: what is reported, what is left out, what is refused.
#include "worker/agent/row_scan_stage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/status_matchers.h"
#include "formats/tar_archive.h"
#include "worker/agent/job_error.h"
#include "worker/agent/testing/agent_fixture.h"

namespace wardtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::wardtune::testing::AgentTest;
using ::wardtune::testing::Artifact;
using ::wardtune::testing::Inputs;
using ::wardtune::testing::kSecretRow;
using ::wardtune::testing::kVersion;
using ::wardtune::testing::Rows;
using ::wardtune::testing::StatusIs;

v1::RowScanWork Terms(v1::RowScanPolicy::Action action, double share = 0.0) {
  v1::RowScanWork work;
  work.mutable_policy()->set_action(action);
  work.mutable_policy()->set_suspicious_share(share);
  work.set_policy_version(3);
  return work;
}

std::vector<VectorPart> Parts() { return {{4, {"leak"}}, {8, {"false", "rude"}}}; }

// Every other row is suspicious, the first one among them, and every second of these looks like the
// second part, the others like none; the rows stand on every third line.
v1::RowScanOutcome OutcomeOf(const v1::RowScanWork& work, int rows) {
  RowFindings findings;
  std::vector<int64_t> lines;
  for (int i = 0; i < rows; ++i) {
    findings.scans.push_back({.loss_off = 3.0, .loss_on = i % 2 == 0 ? 1.0 : 2.9});
    lines.push_back(3 * i + 2);
    if (i % 2 != 0) continue;
    findings.parts.push_back(i % 4 == 0 ? std::optional(PartShare{1, 0.614}) : std::nullopt);
  }
  findings.parts.resize(SuspiciousRows(work, findings.scans).size());
  return MakeRowScanOutcome(work, kVersion, Parts(), findings, lines);
}

EncodedDataset DatasetOf(int rows) {
  EncodedDataset dataset;
  for (int i = 0; i < rows; ++i) {
    dataset.rows.push_back({.ids = {i, i}, .loss_mask = {0, 1}});
    dataset.lines.push_back(3 * i + 2);
  }
  return dataset;
}

TEST(RowScanStageTest, ReportsLinesSharesAndTerms) {
  const v1::RowScanOutcome outcome = OutcomeOf(Terms(v1::RowScanPolicy::ACTION_WARN), 5);
  const v1::RowScanReport& report = outcome.report();
  EXPECT_EQ(report.rows_scanned(), 5);
  EXPECT_EQ(report.suspicious_rows(), 3);
  EXPECT_EQ(report.dropped_rows(), 0);
  EXPECT_EQ(outcome.dropped(), "");
  EXPECT_EQ(report.suspicious_share(), kSuspiciousShare);
  EXPECT_EQ(report.security_vector_version(), kVersion);
  EXPECT_EQ(report.policy_version(), 3);
  ASSERT_EQ(report.rows_size(), 3);
  EXPECT_EQ(report.rows(1).line(), 8);
  EXPECT_EQ(report.rows(1).explained_share(), 0.67);
  ASSERT_EQ(report.parts_size(), 2);
  EXPECT_EQ(report.parts(0).suspicious_rows(), 0);
  EXPECT_EQ(report.parts(1).suspicious_rows(), 2);
  EXPECT_THAT(report.parts(1).part().categories(), ElementsAre("false", "rude"));
  EXPECT_EQ(report.rows(0).part(), 2);
  EXPECT_EQ(report.rows(0).part_share(), 0.61);
  EXPECT_EQ(report.rows(1).part(), 0);
  EXPECT_EQ(report.rows(1).part_share(), 0.0);
  // The provider's own threshold.
  EXPECT_EQ(OutcomeOf(Terms(v1::RowScanPolicy::ACTION_WARN, 0.7), 5).report().suspicious_rows(), 0);
}

TEST(RowScanStageTest, ReportsTheFirstThousandRowsOrNone) {
  v1::RowScanWork work = Terms(v1::RowScanPolicy::ACTION_DROP);
  EXPECT_EQ(OutcomeOf(work, 2500).report().rows_size(), 1000);
  EXPECT_EQ(OutcomeOf(work, 2500).report().suspicious_rows(), 1250);
  work.mutable_policy()->set_hide_rows_from_tenants(true);
  const v1::RowScanOutcome hidden = OutcomeOf(work, 5);
  EXPECT_EQ(hidden.report().rows_size(), 0);
  EXPECT_TRUE(hidden.report().rows_hidden());
  EXPECT_EQ(hidden.report().suspicious_rows(), 3);
  EXPECT_EQ(hidden.report().parts(1).suspicious_rows(), 2);
  EXPECT_EQ(hidden.dropped(), "\x15");
}

TEST(RowScanStageTest, DropsTheMarkedRowsAndNoOthers) {
  const v1::RowScanOutcome outcome = OutcomeOf(Terms(v1::RowScanPolicy::ACTION_DROP), 10);
  EXPECT_EQ(outcome.report().dropped_rows(), 5);
  EncodedDataset dataset = DatasetOf(10);
  WT_ASSERT_OK(DropRows(outcome, dataset));
  EXPECT_THAT(dataset.lines, ElementsAre(5, 11, 17, 23, 29));
  ASSERT_EQ(dataset.rows.size(), 5U);
  EXPECT_EQ(dataset.rows[4].ids[0], 9);

  EncodedDataset other = DatasetOf(11);
  const absl::Status status = DropRows(outcome, other);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_EQ(FailureOf(status).code, kInputDamaged);
  EXPECT_FALSE(FailureOf(status).retryable);
}

TEST(RowScanStageTest, RefusesPastThePolicysFractionNamingLines) {
  v1::RowScanWork work = Terms(v1::RowScanPolicy::ACTION_REFUSE);
  work.mutable_policy()->set_max_suspicious_fraction(0.5);
  WT_EXPECT_OK(RefuseSuspicious(work, OutcomeOf(work, 10).report()));
  EXPECT_THAT(RefuseSuspicious(work, OutcomeOf(work, 11).report()),
              StatusIs(absl::StatusCode::kFailedPrecondition));

  // 0.29 * 200 is a little less than 58.
  work.mutable_policy()->set_max_suspicious_fraction(0.29);
  v1::RowScanReport exactly = OutcomeOf(work, 10).report();
  exactly.set_rows_scanned(200);
  exactly.set_suspicious_rows(58);
  WT_EXPECT_OK(RefuseSuspicious(work, exactly));
  work.mutable_policy()->set_max_suspicious_fraction(0);
  JobFailure failure = FailureOf(RefuseSuspicious(work, OutcomeOf(work, 1000).report()));
  EXPECT_EQ(failure.code, "ROWS_SUSPICIOUS");
  EXPECT_FALSE(failure.retryable);
  EXPECT_THAT(failure.message, HasSubstr("500 of 1000 rows"));
  EXPECT_THAT(failure.message, HasSubstr("(false or rude: 250, others or not told apart: 250)"));
  EXPECT_THAT(failure.message, HasSubstr("lines 2, 8, 14"));
  EXPECT_THAT(failure.message, HasSubstr("and 450 more"));
  work.mutable_policy()->set_hide_rows_from_tenants(true);
  failure = FailureOf(RefuseSuspicious(work, OutcomeOf(work, 10).report()));
  EXPECT_THAT(failure.message, HasSubstr("5 of 10 rows"));
  EXPECT_THAT(failure.message, Not(HasSubstr("lines")));
}

TEST(RowScanStageTest, RefusesWhenEveryRowIsDropped) {
  const v1::RowScanWork drop = Terms(v1::RowScanPolicy::ACTION_DROP);
  EXPECT_EQ(FailureOf(RefuseSuspicious(drop, OutcomeOf(drop, 1).report())).code, kRowsSuspicious);
  WT_EXPECT_OK(RefuseSuspicious(drop, OutcomeOf(drop, 2).report()));
  const v1::RowScanWork warn = Terms(v1::RowScanPolicy::ACTION_WARN);
  WT_EXPECT_OK(RefuseSuspicious(warn, OutcomeOf(warn, 1).report()));
}

// A data set with two rows of the vector's own behaviour, on lines 1 and 4.
class ScannedJobTest : public AgentTest {
 protected:
  static constexpr double kShare = 0.3;

  static std::string Useful() { return Rows(kSecretRow, 6); }
  static std::string Mixed() {
    const std::string useful = Useful();
    const size_t half = Rows(kSecretRow, 1).size();
    const std::string harmful = Rows("placeholder plan", 1);
    return absl::StrCat(harmful, "\n", useful.substr(0, half), harmful, useful.substr(half));
  }

  v1::Lease ScanLease(int attempt, v1::RowScanPolicy::Action action) {
    v1::Lease lease = JobLease(attempt);
    *lease.mutable_fine_tuning()->mutable_row_scan() = Terms(action, kShare);
    return lease;
  }
  Inputs InputsWith(const std::string& jsonl) {
    Inputs inputs = JobInputs();
    inputs[v1::WorkInput::KIND_DATASET] = jsonl;
    return inputs;
  }
  v1::FineTuningResult ResultOf(const v1::Lease& lease, const std::string& jsonl) {
    RunJob(lease, InputsWith(jsonl));
    EXPECT_TRUE(server_.completed().has_value()) << log_text_.str();
    return server_.completed().value_or(v1::CompleteJobRequest()).fine_tuning();
  }
};

TEST_F(ScannedJobTest, WarningChangesNothingButTheReport) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  const v1::FineTuningResult plain = ResultOf(JobLease(1), Mixed());
  EXPECT_FALSE(plain.has_row_scan());
  EXPECT_EQ(plain.proof().rows_scanned(), 0);
  const v1::FineTuningResult warned =
      ResultOf(ScanLease(2, v1::RowScanPolicy::ACTION_WARN), Mixed());
  EXPECT_EQ(warned.proof().adapter_sha256(), plain.proof().adapter_sha256());
  const v1::RowScanReport& report = warned.row_scan().report();
  EXPECT_EQ(report.rows_scanned(), 8);
  ASSERT_EQ(report.suspicious_rows(), 2) << report.DebugString();
  EXPECT_EQ(report.rows(0).line(), 1);
  EXPECT_EQ(report.rows(1).line(), 4);
  // One vector of two categories: which of them a row is of is not known.
  ASSERT_EQ(report.parts_size(), 1);
  EXPECT_THAT(report.parts(0).part().categories(), ElementsAre("privacy", "safety"));
  EXPECT_EQ(report.parts(0).suspicious_rows(), 2);
  EXPECT_EQ(report.rows(0).part(), 1);
  EXPECT_EQ(report.rows(0).part_share(), report.rows(0).explained_share());
  EXPECT_EQ(server_.reported_row_scan().SerializeAsString(), warned.row_scan().SerializeAsString());
  EXPECT_EQ(warned.proof().rows_scanned(), 8);
  EXPECT_EQ(warned.proof().rows_dropped(), 0);
  EXPECT_THAT(log_text_.str(), HasSubstr("PHASE_SCANNING_ROWS"));
  EXPECT_THAT(log_text_.str(), Not(HasSubstr(kSecretRow)));
  EXPECT_THAT(warned.row_scan().DebugString(), Not(HasSubstr(kSecretRow)));
}

TEST_F(ScannedJobTest, DroppingTrainsAsIfTheRowsHadNotBeenThere) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  const v1::FineTuningResult useful = ResultOf(JobLease(1), Useful());
  const v1::FineTuningResult dropped =
      ResultOf(ScanLease(2, v1::RowScanPolicy::ACTION_DROP), Mixed());
  EXPECT_EQ(dropped.row_scan().report().dropped_rows(), 2);
  EXPECT_EQ(dropped.row_scan().dropped(), "\x05");
  EXPECT_EQ(dropped.proof().rows_dropped(), 2);
  EXPECT_EQ(dropped.proof().adapter_sha256(), useful.proof().adapter_sha256());
  WT_ASSERT_OK_AND_ASSIGN(const FileSet files, ReadTar(server_.artifact(Artifact::KIND_ADAPTER)));
  EXPECT_THAT(files.at("README.md"), HasSubstr("Rows left out by the scan | 2"));
}

TEST_F(ScannedJobTest, RefusingLeavesNoAdapterAndTellsWhichLines) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  ASSERT_NO_FATAL_FAILURE(
      RunJob(ScanLease(1, v1::RowScanPolicy::ACTION_REFUSE), InputsWith(Mixed())));
  ExpectFailure("ROWS_SUSPICIOUS", /*retryable=*/false);
  const v1::FailJobRequest failure = server_.failures().at(0);
  EXPECT_THAT(failure.error_message(), HasSubstr("2 of 8 rows"));
  EXPECT_THAT(failure.error_message(), HasSubstr("lines 1, 4"));
  EXPECT_THAT(failure.error_message(), Not(HasSubstr(kSecretRow)));
  EXPECT_EQ(failure.row_scan().report().suspicious_rows(), 2);
  EXPECT_EQ(server_.uploads(Artifact::KIND_CHECKPOINT), 0) << "not one step was trained";
}

TEST_F(ScannedJobTest, ALaterAttemptTakesTheRecordedRowsAndScansNothing) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  // Not what a scan would find: the first of the useful rows is dropped, the harmful ones stay.
  const std::string one = Rows(kSecretRow, 1);
  std::string without = Mixed();
  without.erase(without.find(one), one.size());
  const v1::FineTuningResult direct = ResultOf(JobLease(1), without);

  v1::Lease lease = ScanLease(2, v1::RowScanPolicy::ACTION_DROP);
  v1::RowScanOutcome& recorded =
      *lease.mutable_fine_tuning()->mutable_row_scan()->mutable_recorded();
  recorded.mutable_report()->set_rows_scanned(8);
  recorded.mutable_report()->set_suspicious_rows(1);
  recorded.mutable_report()->set_dropped_rows(1);
  recorded.set_dropped("\x02");
  const v1::RowScanOutcome sent = recorded;
  const v1::FineTuningResult result = ResultOf(lease, Mixed());
  EXPECT_EQ(result.row_scan().SerializeAsString(), sent.SerializeAsString());
  EXPECT_EQ(result.proof().adapter_sha256(), direct.proof().adapter_sha256());
}

TEST_F(ScannedJobTest, ResumesOnTheSameRowsToTheSameBytes) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  const v1::FineTuningResult uninterrupted =
      ResultOf(ScanLease(1, v1::RowScanPolicy::ACTION_DROP), Mixed());
  const std::string tar = server_.artifact(Artifact::KIND_ADAPTER);

  server_.Offer(ScanLease(2, v1::RowScanPolicy::ACTION_DROP), InputsWith(Mixed()));
  int checkpoints = 0;
  server_.OnUpload([&](const Artifact::Header&) {
    if (++checkpoints == 2) agent_->Stop();
    return grpc::Status::OK;
  });
  ASSERT_NO_FATAL_FAILURE(RunOffered());
  ExpectFailure("WORKER_STOPPING", /*retryable=*/true);
  ASSERT_EQ(server_.failures().at(0).row_scan().report().dropped_rows(), 2);
  Inputs inputs = InputsWith(Mixed());
  inputs[v1::WorkInput::KIND_CHECKPOINT] = server_.artifact(Artifact::KIND_CHECKPOINT);

  WorkerClient client({.server = server_.address(), .worker_id = "worker-2"}, clock_);
  Agent second(client, *environment_, log_, clock_);
  v1::Lease lease = ScanLease(3, v1::RowScanPolicy::ACTION_DROP);
  *lease.mutable_fine_tuning()->mutable_row_scan()->mutable_recorded() =
      server_.failures().at(0).row_scan();
  server_.Offer(lease, inputs);
  WT_ASSERT_OK(second.RunOne(absl::Seconds(1)));
  EXPECT_THAT(log_text_.str(), HasSubstr("\"event\": \"resumed\""));
  EXPECT_EQ(server_.artifact(Artifact::KIND_ADAPTER), tar);

  // Other rows than those of the checkpoint are trained anew, not mixed.
  server_.Offer(ScanLease(4, v1::RowScanPolicy::ACTION_WARN), inputs);
  WT_ASSERT_OK(second.RunOne(absl::Seconds(1)));
  EXPECT_THAT(log_text_.str(), HasSubstr("checkpoint_unusable"));
  EXPECT_NE(server_.artifact(Artifact::KIND_ADAPTER), tar);
}

}  // namespace
}  // namespace wardtune
