// What a scan of a job's rows found: recorded once, by the policy of the first lease, and handed to
// later attempts.
#include <string>

#include "storage/sqlite_database.h"
#include "storage/sqlite_migrations.h"
#include "storage/store_fixture.h"

namespace wardtune {
namespace {

using testing::IsOk;
using testing::StatusIs;

class RowScanStoreTest : public testing::StoreFixture {
 protected:
  RowScanStoreTest() {
    AddTenant("acme");
    ActivateVector();
    job_ = AddJob("acme");
  }

  void SetPolicy(const std::string& terms) {
    ASSERT_THAT(store_->safety().SetSafetyPolicy(
                    terms, {"key-1", "set_safety_policy", "safetyPolicy", "trial"}, {},
                    [](const SafetyPolicyRecord&) { return std::string(); }),
                IsOk());
  }

  absl::StatusOr<JobRecord> Beat(int32_t attempt, const RowScanRecord& scan) {
    HeartbeatReport report;
    report.phase = 6;
    report.row_scan = scan;
    return store_->work().Heartbeat(job_, attempt, kTtl, report);
  }

  // The worker is gone; another may take the job.
  void EndLease() {
    clock_.Advance(kTtl);
    ASSERT_THAT(store_->work().ExpireLeases(), IsOk());
  }

  std::string Report() { return store_->jobs().GetJob("acme", job_).value().row_scan; }

  std::string job_;
};

TEST_F(RowScanStoreTest, ALaterAttemptGetsWhatTheFirstFound) {
  const LeaseRecord first = Lease();
  EXPECT_EQ(first.job.row_scan, "");
  EXPECT_EQ(first.scan_dropped, "");
  ASSERT_THAT(Beat(1, {"report", std::string("\x05\x00", 2)}), IsOk());
  EXPECT_EQ(Report(), "report");
  EndLease();
  Open();
  const LeaseRecord second = Lease();
  EXPECT_EQ(second.job.attempt, 2);
  EXPECT_EQ(second.job.row_scan, "report");
  EXPECT_EQ(second.scan_dropped, std::string("\x05\x00", 2));
}

TEST_F(RowScanStoreTest, TheFirstReportStays) {
  Lease();
  ASSERT_THAT(Beat(1, {"report", "dropped"}), IsOk());
  ASSERT_THAT(Beat(1, {"other", "rows"}), IsOk());
  EXPECT_EQ(Report(), "report");
  JobFailure failure;
  failure.error_code = "WORKER_FAILED";
  failure.retryable = true;
  failure.row_scan = {"third", ""};
  ASSERT_THAT(store_->work().Fail(job_, 1, failure), IsOk());
  EXPECT_EQ(Report(), "report");
  EXPECT_EQ(Lease().scan_dropped, "dropped");
}

TEST_F(RowScanStoreTest, AFailureAndAResultBringTheReportToo) {
  Lease();
  JobFailure failure;
  failure.error_code = "ROWS_SUSPICIOUS";
  failure.row_scan = {"report", ""};
  EXPECT_EQ(store_->work().Fail(job_, 1, failure).value().row_scan, "report");
  EXPECT_EQ(StateOf("acme", job_), JobState::kFailed);
  EXPECT_EQ(Report(), "report");

  job_ = AddJob("acme");
  Lease();
  WT_ASSERT_OK(store_->work().RecordArtifact(job_, 1, ArtifactKind::kAdapter,
                                             {Sha256Hex("adapter"), 11}, 0));
  JobResult result = ResultWith("adapter");
  result.row_scan = {"of the result", ""};
  EXPECT_EQ(store_->work().Complete(job_, 1, result).value().job.row_scan, "of the result");
}

TEST_F(RowScanStoreTest, AStaleAttemptRecordsNothing) {
  Lease();
  EndLease();
  Lease();
  EXPECT_THAT(Beat(1, {"report", ""}), StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_EQ(Report(), "");
}

TEST_F(RowScanStoreTest, TheFirstLeaseFixesThePolicy) {
  SetPolicy("first");
  ASSERT_TRUE(Lease().scan_policy.has_value());
  SetPolicy("second");
  EndLease();
  const LeaseRecord again = Lease();
  EXPECT_EQ(again.scan_policy.value().version, 1);
  EXPECT_EQ(again.scan_policy.value().terms, "first");
  EXPECT_EQ(store_->work().GetLease(job_, 2).value().scan_policy.value().version, 1);
  AddJob("acme");
  EXPECT_EQ(Lease().scan_policy.value().terms, "second");
}

TEST_F(RowScanStoreTest, WithoutAPolicyTheDefaultIsFixed) {
  EXPECT_EQ(Lease().scan_policy.value().version, 0);
  SetPolicy("later");
  EndLease();
  EXPECT_EQ(Lease().scan_policy.value().version, 0);
}

TEST_F(RowScanStoreTest, AJobThatRanThroughTheMigrationIsNotScanned) {
  Lease();
  store_.reset();
  {
    const auto database = Database::Open(options_.path).value();
    WT_ASSERT_OK(database->Execute("UPDATE job SET row_scan_policy = NULL"));
  }
  Open();
  EXPECT_FALSE(store_->work().GetLease(job_, 1).value().scan_policy.has_value());
}

TEST_F(RowScanStoreTest, ALeaseTellsTheVectorsPartsWhichStayAsWritten) {
  const LeaseRecord lease = Lease();
  EXPECT_EQ(lease.vector_parts, "parts");
  EXPECT_EQ(store_->work().GetLease(job_, 1).value().vector_parts, "parts");
  EXPECT_EQ(store_->security_vectors().GetSecurityVector("shield", 1).value().parts, "parts");
  store_.reset();
  const auto database = Database::Open(options_.path).value();
  EXPECT_FALSE(database->Execute("UPDATE security_vector SET parts = x'00'").ok());
}

TEST_F(RowScanStoreTest, TheSchemaKeepsAReportAsWritten) {
  Lease();
  ASSERT_THAT(Beat(1, {"report", ""}), IsOk());
  store_.reset();
  const auto database = Database::Open(options_.path).value();
  EXPECT_FALSE(database->Execute("UPDATE job SET row_scan = x'00' WHERE row_scan <> x''").ok());
  EXPECT_FALSE(database->Execute("UPDATE job SET row_scan_policy = -1").ok());
}

}  // namespace
}  // namespace wardtune
