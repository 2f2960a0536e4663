// Sealed bytes that take the place of others, and leases that keep what they named.
#include <set>
#include <string>
#include <vector>

#include "storage/sqlite_database.h"
#include "storage/sqlite_migrations.h"
#include "storage/store_fixture.h"

namespace wardtune {
namespace {

using ::testing::Contains;
using ::testing::Not;
using testing::StatusIs;

class SealedVectorStoreTest : public testing::StoreFixture {
 protected:
  SealedVectorStoreTest() {
    AddTenant("acme");
    ActivateVector();
  }

  absl::StatusOr<SecurityVectorRecord> Replace(const std::string& replaced,
                                               const std::string& sealed, int64_t version = 1) {
    return store_->security_vectors().ReplaceSealedVector(
        "shield", version, Sha256Hex(replaced), {Sha256Hex(sealed), 12},
        {"worker-key", "reseal_security_vector", "securityVectors/shield/versions/1", "a to b"});
  }
  SecurityVectorRecord Shield() {
    return store_->security_vectors().GetSecurityVector("shield", 1).value();
  }
  int Reseals() {
    int count = 0;
    const auto events = store_->safety().ListAuditEvents({}).value();
    for (const AuditEventRecord& event : events.items) {
      count += event.entry.action == "reseal_security_vector" ? 1 : 0;
    }
    return count;
  }
  static std::string SealedInput(const LeaseRecord& lease) {
    for (const InputRecord& input : lease.inputs) {
      if (input.kind == InputKind::kSecurityVector) return input.blob.sha256;
    }
    return "";
  }
  std::string LeasedInput(const LeaseRecord& lease) {
    return SealedInput(store_->work().GetLease(lease.job.id, lease.job.attempt).value());
  }
  std::set<std::string> Referenced() { return store_->maintenance().ReferencedBlobs().value(); }
};

TEST_F(SealedVectorStoreTest, AReplacementChangesTheSealedBytesAlone) {
  const SecurityVectorRecord before = Shield();
  WT_ASSERT_OK_AND_ASSIGN(const SecurityVectorRecord after, Replace("sealed", "anew"));
  EXPECT_EQ(after.sealed.sha256, Sha256Hex("anew"));
  EXPECT_EQ(after.sealed.size_bytes, 12);
  EXPECT_EQ(after.plain_sha256, before.plain_sha256);
  EXPECT_EQ(after.card, before.card);
  EXPECT_EQ(after.state, SecurityVectorState::kActive);
  EXPECT_EQ(after.activated_by, before.activated_by);
  EXPECT_EQ(Reseals(), 1);
  EXPECT_THAT(Referenced(), Contains(Sha256Hex("anew")));
  EXPECT_THAT(Referenced(), Not(Contains(Sha256Hex("sealed"))));
  // Its answer may have been lost.
  WT_EXPECT_OK(Replace("sealed", "anew"));
  EXPECT_EQ(Reseals(), 1);
  EXPECT_THAT(Replace("sealed", "other"), StatusIs(absl::StatusCode::kAborted));
  EXPECT_EQ(Shield().sealed.sha256, Sha256Hex("anew"));
  EXPECT_EQ(Reseals(), 1);
}

TEST_F(SealedVectorStoreTest, OnlyTrainedVersionsAreListedAndReplaced) {
  TrainVector();
  EXPECT_THAT(Replace("", "anew", 2), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(Replace("sealed", "anew", 9), StatusIs(absl::StatusCode::kNotFound));
  const auto list = [&](const PageRequest& page) {
    return store_->security_vectors().ListSealedVectors(page).value();
  };
  EXPECT_EQ(list({}).items.size(), 1u);
  WT_ASSERT_OK(Finish(Lease(), "sealed 2"));
  const auto first = list({1, ""});
  ASSERT_EQ(first.items.size(), 1u);
  EXPECT_EQ(first.items[0].version, 2);
  const auto second = list({1, first.next_page_token});
  ASSERT_EQ(second.items.size(), 1u);
  EXPECT_EQ(second.items[0].version, 1);
  EXPECT_EQ(second.next_page_token, "");
}

TEST_F(SealedVectorStoreTest, ALeaseKeepsTheBytesThatItNamedUntilItEnds) {
  const std::string job = AddJob("acme");
  const LeaseRecord lease = Lease();
  EXPECT_EQ(SealedInput(lease), Sha256Hex("sealed"));
  WT_ASSERT_OK(Replace("sealed", "anew"));
  EXPECT_EQ(LeasedInput(lease), Sha256Hex("sealed"));
  EXPECT_THAT(Referenced(), Contains(Sha256Hex("sealed")));
  WT_ASSERT_OK(store_->work().Fail(job, 1, {"WORKER_FAILED", "", true, false}));
  EXPECT_THAT(Referenced(), Not(Contains(Sha256Hex("sealed"))));
  EXPECT_EQ(SealedInput(Lease()), Sha256Hex("anew"));
}

TEST_F(SealedVectorStoreTest, ATrainingKeepsTheBytesOfTheVersionThatItAddsTo) {
  const NewSecurityVector request{"shield",
                                  kModel,
                                  AddReadyDataset(kProviderTenant),
                                  AddReadyDataset(kProviderTenant),
                                  "suite",
                                  "recipe",
                                  "shield",
                                  1};
  WT_ASSERT_OK(store_->security_vectors().TrainSecurityVector(
      request, Once("TrainSecurityVector"),
      [](const SecurityVectorRecord& record) { return record.job_id; }));
  const LeaseRecord lease = Lease();
  WT_ASSERT_OK(Replace("sealed", "anew"));
  EXPECT_EQ(LeasedInput(lease), Sha256Hex("sealed"));
  EXPECT_THAT(Referenced(), Contains(Sha256Hex("sealed")));
  WT_ASSERT_OK(Finish(lease, "sum"));
  EXPECT_THAT(Referenced(), Not(Contains(Sha256Hex("sealed"))));
}

TEST_F(SealedVectorStoreTest, AttemptsThatRanThroughTheMigrationKeepTheirInputs) {
  AddJob("acme");
  const LeaseRecord tuning = Lease();
  TrainVector();
  const LeaseRecord training = Lease();
  const NewSecurityVector request{"shield",
                                  kModel,
                                  AddReadyDataset(kProviderTenant),
                                  AddReadyDataset(kProviderTenant),
                                  "suite",
                                  "recipe",
                                  "shield",
                                  1};
  WT_ASSERT_OK(store_->security_vectors().TrainSecurityVector(
      request, Once("TrainSecurityVector"),
      [](const SecurityVectorRecord& record) { return record.job_id; }));
  const LeaseRecord adding = Lease();
  store_.reset();
  {  // The file as it was before, and what the migration makes of it.
    const auto database = Database::Open(options_.path).value();
    WT_ASSERT_OK(database->Execute("ALTER TABLE job DROP COLUMN vector_sealed_sha256"));
    WT_ASSERT_OK(database->Execute("ALTER TABLE job DROP COLUMN vector_sealed_size"));
    const Migration migration = EmbeddedMigrations()[6];
    ASSERT_EQ(migration.name, "0007_pinned_sealed_vectors.sql");
    WT_ASSERT_OK(database->Execute(migration.sql));
  }
  Open();
  EXPECT_EQ(LeasedInput(tuning), Sha256Hex("sealed"));
  EXPECT_EQ(LeasedInput(training), "");
  EXPECT_EQ(LeasedInput(adding), Sha256Hex("sealed"));
}

}  // namespace
}  // namespace wardtune
