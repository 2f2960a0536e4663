#include "storage/sqlite_store.h"

#include <filesystem>
#include <string>

#include "storage/sqlite_database.h"
#include "storage/sqlite_migrations.h"
#include "storage/store_fixture.h"

namespace wardtune {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::wardtune::testing::StatusIs;

class SqliteStoreTest : public testing::StoreFixture {
 protected:
  absl::Status OpenStatus() {
    store_.reset();
    return SqliteStore::Open(options_, clock_, files_).status();
  }
};

TEST_F(SqliteStoreTest, ASecondServerOnTheSameFileIsRefused) {
  EXPECT_THAT(SqliteStore::Open(options_, clock_, files_),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("another server")));
}

TEST_F(SqliteStoreTest, ANewerSchemaIsRefusedNamingFileAndRemedy) {
  store_.reset();
  {
    auto database = Database::Open(options_.path).value();
    WT_ASSERT_OK(database->Execute("PRAGMA user_version = 99"));
  }
  EXPECT_THAT(OpenStatus(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                     AllOf(HasSubstr(options_.path), HasSubstr("newer program"))));
}

TEST_F(SqliteStoreTest, ATruncatedFileIsDataLossNamingFileAndRemedy) {
  AddTenant("acme");
  for (int i = 0; i < 50; ++i) AddDataset("acme");
  store_.reset();
  const auto size = std::filesystem::file_size(options_.path);
  for (const auto kept : {size / 2, uintmax_t{5000}, uintmax_t{50}}) {
    std::filesystem::resize_file(options_.path, kept);
    EXPECT_THAT(OpenStatus(), StatusIs(absl::StatusCode::kDataLoss,
                                       AllOf(HasSubstr(options_.path), HasSubstr("backup"))))
        << kept;
  }
}

TEST_F(SqliteStoreTest, AFailedMigrationLeavesTheVersionBefore) {
  auto database = Database::Open(folder_ + "/other.db").value();
  const std::vector<Migration> migrations = {
      {"0001_a.sql", "CREATE TABLE a (x INTEGER)"},
      {"0002_b.sql", "CREATE TABLE b (x INTEGER); CREATE TABLE a (x INTEGER)"}};
  EXPECT_THAT(Migrate(*database, migrations, clock_.Now()),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("0002_b.sql")));
  WT_EXPECT_OK(database->Execute("SELECT x FROM a"));
  EXPECT_THAT(database->Execute("SELECT x FROM b"), StatusIs(absl::StatusCode::kInternal));
  WT_EXPECT_OK(Migrate(*database, {migrations[0]}, clock_.Now()));
}

// The schema refuses what the code must never write.
TEST_F(SqliteStoreTest, TheSchemaRepeatsTheRulesOfTheStateMachine) {
  AddTenant("acme");
  ActivateVector();
  AddJob("acme");
  store_.reset();
  auto database = Database::Open(options_.path).value();
  for (const char* broken :
       {"UPDATE job SET state = 7 WHERE state = 1", "UPDATE job SET state = 2 WHERE state = 1",
        "UPDATE job SET lease_owner = 'w' WHERE state = 1",
        "UPDATE job SET end_time = 1 WHERE state = 1", "UPDATE job SET state = 6 WHERE state = 1",
        "UPDATE job SET state = 5, end_time = 1 WHERE state = 1",
        "UPDATE job SET state = 4, end_time = 1 WHERE state = 1",
        "UPDATE job SET tenant = 'nobody'", "UPDATE dataset SET state = 1",
        "UPDATE security_vector SET state = 1"}) {
    EXPECT_THAT(database->Execute(broken),
                StatusIs(absl::StatusCode::kInternal, HasSubstr("constraint")))
        << broken;
  }
  WT_EXPECT_OK(database->Execute("UPDATE job SET state = 6, end_time = 1 WHERE state = 1"));
}

TEST_F(SqliteStoreTest, TheListenerHearsOfEachMove) {
  std::vector<JobState> heard;
  options_.on_job_change = [&](const std::string&, JobState state) { heard.push_back(state); };
  Open();
  AddTenant("acme");
  ActivateVector();
  heard.clear();
  AddJob("acme");
  WT_ASSERT_OK(Finish(Lease(), "adapter"));
  EXPECT_THAT(heard,
              ::testing::ElementsAre(JobState::kQueued, JobState::kRunning, JobState::kSucceeded));
}

}  // namespace
}  // namespace wardtune
