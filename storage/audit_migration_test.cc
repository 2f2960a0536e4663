// Migration 0009 makes the table of jobs anew. What was in it, in whatever state, and what refers
// to it stays, and the jobs go on.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/file_system.h"
#include "base/sha256.h"
#include "base/status_matchers.h"
#include "storage/sqlite_database.h"
#include "storage/sqlite_migrations.h"
#include "storage/sqlite_store.h"

namespace wardtune {
namespace {

using ::testing::IsEmpty;
using testing::IsOk;
using ::testing::SizeIs;

constexpr absl::Duration kTtl = absl::Seconds(30);
constexpr size_t kVersionBefore = 8;

std::string Digest(const std::string& text) { return absl::StrCat("'", Sha256Hex(text), "'"); }

class AuditMigrationTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    path_ = absl::StrCat(::testing::TempDir(), "/audit_migration.", test->name(), ".db");
    for (const char* suffix : {"", "-wal", "-shm"}) std::filesystem::remove(path_ + suffix);
    WT_ASSERT_OK_AND_ASSIGN(database_, Database::Open(path_));
    ASSERT_EQ(all_.at(kVersionBefore).name, "0009_adapter_audits.sql");
    WT_ASSERT_OK(Migrate(*database_, {all_.begin(), all_.begin() + kVersionBefore}, clock_.Now()));
    AddWhatJobsReferTo();
    AddJobs();
    AddWhatRefersToJobs();
  }

  void AddWhatJobsReferTo() {
    WT_ASSERT_OK(database_->Execute(absl::StrCat(
        "INSERT INTO tenant VALUES ('t', '', 0, 0, 1);"
        "INSERT INTO base_model VALUES ('m', ",
        Digest("base"),
        ", 'L', 1, 1, 1);"
        "INSERT INTO safety_suite (id, prompts_sha256, prompts_size, rules_sha256, rules_size,"
        " general_sha256, general_size, facts, create_time) VALUES ('s', ",
        Digest("prompts"), ", 1, ", Digest("rules"),
        ", 1, '', 0, x'', 1);"
        "INSERT INTO security_vector (vector, version, base_model, base_sha256, state, recipe,"
        " safety_suite, harmful_rows_sha256, general_rows_sha256, plain_sha256, sealed_sha256,"
        " sealed_size, card, categories, job_id, error_message, activated_by, create_time)"
        " VALUES ('v', 1, 'm', ",
        Digest("base"), ", 2, x'', 's', ", Digest("harmful"), ", ", Digest("general"), ", ",
        Digest("plain"), ", ", Digest("sealed"), ", 1, x'', '', 'j0', '', '', 1);")));
  }

  // A job with the columns that each has, and those of its state. No two columns of a row are
  // equal, so that none can take another's place.
  void AddJob(const std::string& id, int kind, const std::string& columns,
              const std::string& values) {
    const int n = ++jobs_ * 100;
    WT_ASSERT_OK(database_->Execute(absl::StrCat(
        "INSERT INTO job (id, tenant, kind, display_name, dataset_id, dataset_sha256, dataset_size,"
        " general_id, general_sha256, general_size, base_model, base_sha256, spec, estimate,"
        " vector, version, safety_suite, create_time, revision, last_sequence, furthest_step,"
        " failures, checkpoint_attempt, checkpoint_step, ",
        columns, ") VALUES ('", id, "', 't', ", kind, ", 'label ", id, "', 'rows ", id, "', ",
        Digest("rows " + id), ", ", n + 1, ", 'general ", id, "', ", Digest("general " + id), ", ",
        n + 2, ", 'm', ", Digest("base"), ", CAST('spec ", id, "' AS BLOB), CAST('estimate ", id,
        "' AS BLOB), 'v', 1, 's', ", n + 3, ", ", n + 4, ", ", n + 5, ", ", n + 6, ", ", n + 7,
        ", ", n + 8, ", ", n + 9, ", ", values, ");")));
  }

  void AddJobs() {
    const std::string checkpoint = absl::StrCat(Digest("checkpoint"), ", 11");
    const std::string sealed = absl::StrCat(Digest("sealed"), ", 12");
    // Has waited since its first attempt ended.
    AddJob("queued", 1, "state, attempt, checkpoint_sha256, checkpoint_size, row_scan_policy",
           absl::StrCat("1, 1, ", checkpoint, ", 0"));
    const std::string leased =
        "state, phase, attempt, lease_owner, lease_expires, lease_boot, start_time, progress,"
        " safety_before, row_scan, checkpoint_sha256, checkpoint_size, vector_sealed_sha256,"
        " vector_sealed_size";
    const int64_t lease_end = absl::ToInt64Microseconds(clock_.Monotonic() + kTtl);
    for (const auto& [id, state] : {std::pair("running", 2), std::pair("cancelling", 3)}) {
      AddJob(id, 1, leased,
             absl::StrCat(state, ", 4, 2, 'w1', ", lease_end,
                          ", 'boot-1', 13, x'01', x'02', x'03', ", checkpoint, ", ", sealed));
    }
    AddJob("succeeded", 1,
           "state, attempt, start_time, end_time, adapter_id, progress, safety_before,"
           " safety_after, proof, checkpoint_scores",
           "4, 1, 14, 15, 'a', x'04', x'05', x'06', x'07', x'08'");
    AddJob("failed", 1, "state, attempt, start_time, end_time, error_code, error_message, row_scan",
           "5, 3, 16, 17, 'ROWS_SUSPICIOUS', 'too many', x'09'");
    AddJob("cancelled", 1, "state, end_time", "6, 18");
    AddJob("training", 2, "state", "1");
  }

  void AddWhatRefersToJobs() {
    WT_ASSERT_OK(database_->Execute(absl::StrCat(
        "INSERT INTO job_event SELECT id, 1, create_time, 1, 0, x'', 'queued' FROM job;"
        "INSERT INTO job_event SELECT id, 2, create_time, state, phase, progress, 'now' FROM job;"
        "INSERT INTO artifact VALUES ('running', 2, 2, ",
        Digest("artefact"),
        ", 19);"
        "INSERT INTO row_scan_dropped VALUES ('running', x'05'), ('failed', x'06');"
        "INSERT INTO adapter (id, tenant, job_id, base_model, sha256, size, create_time)"
        " VALUES ('a', 't', 'succeeded', 'm', ",
        Digest("adapter"), ", 1, 20);")));
  }

  std::vector<std::string> Texts(const char* sql) {
    std::vector<std::string> texts;
    Statement row = database_->Query(sql).value();
    while (row.Step().value()) texts.push_back(row.Text());
    return texts;
  }
  // Every row of the table, with the columns that it had when this was first asked.
  std::vector<std::string> Rows(const std::string& table) {
    std::string& sql = dumps_[table];
    if (sql.empty()) {
      columns_of_[table] = absl::StrCat(
          "SELECT group_concat('quote(' || name || ')', ' || '' '' || ') FROM pragma_table_info('",
          table, "')");
      sql = absl::StrCat("SELECT ", Texts(columns_of_[table].c_str()).at(0), " FROM ", table,
                         " ORDER BY 1");
    }
    return Texts(sql.c_str());
  }
  std::map<std::string, std::vector<std::string>> AllRows() {
    std::map<std::string, std::vector<std::string>> rows;
    for (const char* table : {"job", "job_event", "artifact", "row_scan_dropped", "adapter"}) {
      rows[table] = Rows(table);
    }
    return rows;
  }
  void MigrateToNow() { WT_ASSERT_OK(Migrate(*database_, all_, clock_.Now())); }

  const std::vector<Migration> all_ = EmbeddedMigrations();
  std::string path_;
  FakeClock clock_;
  PosixFileSystem files_;
  int jobs_ = 0;
  // Statements are kept by the address of their text.
  std::map<std::string, std::string> dumps_;
  std::map<std::string, std::string> columns_of_;
  std::unique_ptr<Database> database_;
};

TEST_F(AuditMigrationTest, KeepsJobsInEveryStateAndWhatRefersToThem) {
  const auto before = AllRows();
  ASSERT_THAT(before.at("job"), SizeIs(7));
  ASSERT_THAT(before.at("job_event"), SizeIs(14));
  ASSERT_NO_FATAL_FAILURE(MigrateToNow());
  EXPECT_EQ(AllRows(), before);
  EXPECT_THAT(Texts("PRAGMA foreign_key_check"), IsEmpty());
  EXPECT_THAT(Texts("SELECT id FROM job WHERE audited_adapter IS NOT NULL"), IsEmpty());
  EXPECT_FALSE(database_->Execute("DELETE FROM job WHERE id = 'succeeded'").ok())
      << "an adapter refers to it";
}

TEST_F(AuditMigrationTest, CountsDeliveryAsAScore) {
  ASSERT_NO_FATAL_FAILURE(MigrateToNow());
  Statement row = database_->Query("SELECT audit_time, audit_suite FROM adapter").value();
  ASSERT_TRUE(row.Step().value());
  EXPECT_EQ(row.Int(), 20);
  EXPECT_EQ(row.Text(), "s");
}

TEST_F(AuditMigrationTest, JobsGoOnWhereTheyWere) {
  database_.reset();
  SqliteStoreOptions options;
  options.path = path_;
  options.boot_id = "boot-1";
  WT_ASSERT_OK_AND_ASSIGN(const auto store, SqliteStore::Open(options, clock_, files_));
  WorkQueue& work = store->work();
  // The first attempt's checkpoint is there for the second.
  for (const char* id : {"queued", "training"}) {
    const std::optional<LeaseRecord> lease = work.LeaseNext("w2", {"m"}, kTtl).value();
    ASSERT_TRUE(lease.has_value());
    EXPECT_EQ(lease->job.id, id);
    if (lease->job.kind == JobKind::kSecurityVector) continue;
    EXPECT_EQ(lease->job.attempt, 2);
    EXPECT_EQ(lease->job.checkpoint.sha256, Sha256Hex("checkpoint"));
  }
  EXPECT_FALSE(work.LeaseNext("w2", {"m"}, kTtl).value().has_value());
  EXPECT_EQ(work.Heartbeat("running", 2, kTtl, {}).value().state, JobState::kRunning);
  EXPECT_EQ(work.Heartbeat("cancelling", 2, kTtl, {}).value().state, JobState::kCancelling);
  WT_ASSERT_OK_AND_ASSIGN(const JobRecord stopped,
                          work.Fail("cancelling", 2, {"", "", false, /*cancelled=*/true, {}}));
  EXPECT_EQ(stopped.state, JobState::kCancelled);
  EXPECT_EQ(store->jobs().GetJob("t", "failed").value().error_code, "ROWS_SUSPICIOUS");
  EXPECT_EQ(store->jobs().GetJob("t", "cancelled").value().state, JobState::kCancelled);
  EXPECT_EQ(store->jobs().GetJob("t", "succeeded").value().adapter_id, "a");
}

}  // namespace
}  // namespace wardtune
