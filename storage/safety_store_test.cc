// The gate's rows: policies by version, quarantine and release, and an audit trail that only grows.
#include <string>

#include "storage/sqlite_database.h"
#include "storage/sqlite_migrations.h"
#include "storage/store_fixture.h"

namespace wardtune {
namespace {

using testing::IsOk;
using testing::StatusIs;

class SafetyStoreTest : public testing::StoreFixture {
 protected:
  absl::StatusOr<Answer> SetPolicy(const std::string& terms, const RequestKey& key) {
    return store_->safety().SetSafetyPolicy(
        terms, {"key-1", "set_safety_policy", "safetyPolicy", "reviewed"}, key,
        [](const SafetyPolicyRecord& policy) { return absl::StrCat(policy.version); });
  }

  absl::StatusOr<Answer> Release(const std::string& tenant, const std::string& id,
                                 const RequestKey& key = {}) {
    return store_->safety().ReleaseAdapter(
        tenant, id, {"key-2", "release_adapter", id, "looked at"}, key, IdOf<AdapterRecord>);
  }

  GateState StateOfAdapter(const std::string& id) {
    return store_->jobs().GetAdapter("acme", id).value().gate.state;
  }
};

TEST_F(SafetyStoreTest, EachChangeOfThePolicyIsAVersion) {
  EXPECT_EQ(store_->safety().GetSafetyPolicy(0).value().version, 0);
  const RequestKey first = {"provider", "SetSafetyPolicy", "id-1", "body"};
  EXPECT_EQ(SetPolicy("strict", first).value().response, "1");
  EXPECT_TRUE(SetPolicy("strict", first).value().replayed);
  EXPECT_EQ(SetPolicy("loose", {}).value().response, "2");
  Open();
  EXPECT_EQ(store_->safety().GetSafetyPolicy(1).value().terms, "strict");
  const SafetyPolicyRecord current = store_->safety().GetSafetyPolicy(0).value();
  EXPECT_EQ(current.version, 2);
  EXPECT_EQ(current.terms, "loose");
  EXPECT_EQ(current.created_by, "key-1");
  EXPECT_THAT(store_->safety().GetSafetyPolicy(3), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_EQ(store_->safety().ListAuditEvents({}).value().items.size(), 2U);
}

TEST_F(SafetyStoreTest, AResultIsJudgedByThePolicyInForceAndReleasedOnce) {
  ASSERT_THAT(SetPolicy("strict", {}), IsOk());
  AddTenant("acme");
  AddTenant("rival");
  ActivateVector();
  SafetyPolicyRecord judged_by;
  const JobRecord ended = AddQuarantined("acme", &judged_by);
  const std::string id = ended.adapter_id;
  EXPECT_EQ(judged_by.version, 1);
  EXPECT_EQ(judged_by.terms, "strict");
  EXPECT_EQ(StateOfAdapter(id), GateState::kQuarantined);

  EXPECT_THAT(Release("rival", id), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_EQ(StateOfAdapter(id), GateState::kQuarantined);
  const RequestKey key = {"provider", "ReleaseAdapter", "id-2", "body"};
  EXPECT_EQ(Release("acme", id, key).value().response, id);
  EXPECT_TRUE(Release("acme", id, key).value().replayed);
  EXPECT_THAT(Release("acme", id), StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_EQ(StateOfAdapter(id), GateState::kReleased);
  const JobRecord job = store_->jobs().GetJob("acme", ended.id).value();
  EXPECT_EQ(job.gate.state, GateState::kReleased);
  EXPECT_EQ(job.gate.verdict, "verdict");

  // The policy, the vector's activation and the one release that took place.
  const Page<AuditEventRecord> page = store_->safety().ListAuditEvents({2, ""}).value();
  ASSERT_EQ(page.items.size(), 2U);
  EXPECT_EQ(page.items[0].entry.action, "release_adapter");
  EXPECT_EQ(page.items[0].entry.key_id, "key-2");
  EXPECT_EQ(page.items[0].entry.resource, id);
  EXPECT_EQ(page.items[0].entry.reason, "looked at");
  EXPECT_EQ(page.items[0].time, clock_.Now());
  EXPECT_EQ(page.items[1].entry.action, "activate_security_vector");
  const Page<AuditEventRecord> rest =
      store_->safety().ListAuditEvents({2, page.next_page_token}).value();
  ASSERT_EQ(rest.items.size(), 1U);
  EXPECT_EQ(rest.items[0].entry.action, "set_safety_policy");
}

TEST_F(SafetyStoreTest, NoResultPassesUnjudged) {
  AddTenant("acme");
  ActivateVector();
  const std::string job = AddJob("acme");
  const LeaseRecord lease = Lease();
  WT_ASSERT_OK(
      store_->work().RecordArtifact(job, 1, ArtifactKind::kAdapter, {Sha256Hex("adapter"), 11}, 0));
  JobResult result = ResultWith("adapter");
  result.judge = nullptr;
  EXPECT_THAT(store_->work().Complete(job, 1, result),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_EQ(StateOf("acme", job), JobState::kRunning);
}

TEST_F(SafetyStoreTest, AdaptersFromBeforeTheGateStayAvailable) {
  const auto database = Database::Open(folder_ + "/old.db").value();
  const std::vector<Migration> all = EmbeddedMigrations();
  WT_ASSERT_OK(Migrate(*database, {all[0], all[1]}, clock_.Now()));
  // The rows that an adapter belongs to do not matter here.
  WT_ASSERT_OK(database->Execute("PRAGMA foreign_keys = OFF"));
  WT_ASSERT_OK(database->Execute(
      "INSERT INTO adapter (id, tenant, job_id, base_model, sha256, size, create_time)"
      " VALUES ('a', 't', 'j', 'm', '" +
      Sha256Hex("adapter") + "', 1, 1)"));
  WT_ASSERT_OK(Migrate(*database, all, clock_.Now()));
  Statement row = database->Query("SELECT gate_state, gate_verdict FROM adapter").value();
  ASSERT_TRUE(row.Step().value());
  EXPECT_EQ(row.As<GateState>(), GateState::kAvailable);
  EXPECT_EQ(row.Text(), "");
}

TEST_F(SafetyStoreTest, AuditTrailAndPoliciesOnlyGrow) {
  ASSERT_THAT(SetPolicy("strict", {}), IsOk());
  store_.reset();
  const auto database = Database::Open(options_.path).value();
  for (const char* sql : {"UPDATE audit_event SET reason = 'other'", "DELETE FROM audit_event",
                          "UPDATE safety_policy SET terms = x'00'", "DELETE FROM safety_policy"}) {
    EXPECT_FALSE(database->Execute(sql).ok()) << sql;
  }
  Open();
  EXPECT_EQ(store_->safety().GetSafetyPolicy(0).value().terms, "strict");
  EXPECT_EQ(store_->safety().ListAuditEvents({}).value().items.at(0).entry.reason, "reviewed");
}

}  // namespace
}  // namespace wardtune
