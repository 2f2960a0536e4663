// Audits as rows: who is due, never two at once, behind customers' jobs but not for ever, and a
// history that only grows.
#include "storage/audit_store.h"

#include <set>
#include <string>
#include <vector>

#include "storage/error_reason.h"
#include "storage/sqlite_database.h"
#include "storage/store_fixture.h"

namespace wardtune {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::IsOk;
using ::testing::SizeIs;
using testing::StatusIs;

constexpr absl::Duration kInterval = absl::Hours(24);

class AuditStoreTest : public testing::StoreFixture {
 protected:
  AuditStoreTest() {
    AddTenant("acme");
    AddTenant("rival");
    ActivateVector();
  }

  // A delivered adapter of acme's.
  std::string AddAdapter(const std::string& name) {
    AddJob("acme");
    return Finish(Lease(), name).value().adapter_id;
  }

  NewestSuite Newest() const {
    return [this](const std::string&, const std::string&) { return newest_; };
  }
  void AddSuite(const std::string& id) {
    SafetySuiteRecord suite;
    suite.id = id;
    suite.prompts = {Sha256Hex("prompts of " + id), 7};
    suite.rules = {Sha256Hex("rules of " + id), 5};
    WT_ASSERT_OK(store_->security_vectors().CreateSafetySuite(suite, Once("CreateSafetySuite"),
                                                              IdOf<SafetySuiteRecord>));
    newest_ = id;
  }

  // The adapters of the audits that are queued now.
  std::vector<std::string> QueueDue(int32_t max_open = 10) {
    auto jobs = store_->audits().QueueDueAudits({kInterval, max_open}, Newest());
    EXPECT_THAT(jobs, IsOk());
    std::vector<std::string> adapters;
    for (const JobRecord& job : *jobs) adapters.push_back(job.audited_adapter);
    return adapters;
  }
  absl::StatusOr<Answer> QueueOne(const std::string& tenant, const std::string& adapter,
                                  const RequestKey& key = {}, int32_t max_open = 10) {
    return store_->audits().QueueAudit(tenant, adapter, max_open, Newest(),
                                       {"key-1", "audit_adapter", adapter, "looked at"}, key,
                                       [](const AdapterAuditRecord& record) { return record.id; });
  }

  static JobResult Score(const std::string& report, bool drifted) {
    JobResult result;
    result.artifact_sha256 = Sha256Hex(report);
    result.audit.report_base = "base";
    result.audit.report = report;
    result.audit.suite_sha256 = Sha256Hex("suite");
    result.audit.judge = [drifted](const SafetyPolicyRecord&, const AdapterRecord& delivered) {
      EXPECT_EQ(delivered.safety_after, "after");
      return AuditScore::Verdict{drifted, "verdict"};
    };
    return result;
  }
  absl::StatusOr<JobRecord> FinishAudit(const std::string& report, bool drifted) {
    const LeaseRecord lease = Lease();
    EXPECT_EQ(lease.job.kind, JobKind::kAudit);
    WT_ASSIGN_OR_RETURN(
        const CompletedJob ended,
        store_->work().Complete(lease.job.id, lease.job.attempt, Score(report, drifted)));
    return ended.job;
  }

  std::vector<AdapterAuditRecord> Audits(const std::string& adapter) {
    return store_->audits().ListAudits("acme", adapter, {}).value().items;
  }

  std::string newest_ = "suite";
};

TEST_F(AuditStoreTest, AnAdapterIsDueAnIntervalAfterItsLastScore) {
  const std::string adapter = AddAdapter("a");
  clock_.Advance(kInterval - absl::Seconds(1));
  EXPECT_THAT(QueueDue(), IsEmpty());
  clock_.Advance(absl::Seconds(1));
  EXPECT_THAT(QueueDue(), ElementsAre(adapter));
  // One is open: neither due again nor to be had on demand, whether queued or running.
  clock_.Advance(2 * kInterval);
  EXPECT_THAT(QueueDue(), IsEmpty());
  EXPECT_THAT(QueueOne("acme", adapter), StatusIs(absl::StatusCode::kFailedPrecondition));
  const LeaseRecord lease = Lease();
  EXPECT_THAT(QueueDue(), IsEmpty());
  EXPECT_EQ(Audits(adapter).at(0).state, AuditState::kRunning);
  WT_ASSERT_OK(store_->work().Complete(lease.job.id, 1, Score("report", false)));
  EXPECT_THAT(QueueDue(), IsEmpty());
  clock_.Advance(kInterval);
  EXPECT_THAT(QueueDue(), ElementsAre(adapter));
}

TEST_F(AuditStoreTest, ANewerSuiteMakesDueAtOnce) {
  const std::string adapter = AddAdapter("a");
  AddSuite("suite-2");
  EXPECT_THAT(QueueDue(), ElementsAre(adapter));
  const LeaseRecord lease = Lease();
  EXPECT_EQ(lease.job.safety_suite, "suite-2");
  std::set<InputKind> kinds;
  for (const InputRecord& input : lease.inputs) {
    kinds.insert(input.kind);
    if (input.kind == InputKind::kAdapter) {
      EXPECT_EQ(input.blob.sha256, Sha256Hex("a"));
    }
    if (input.kind == InputKind::kSuiteRules) {
      EXPECT_EQ(input.blob.sha256, Sha256Hex("rules of suite-2"));
    }
  }
  EXPECT_THAT(kinds,
              ElementsAre(InputKind::kSuitePrompts, InputKind::kSuiteRules, InputKind::kAdapter));
  WT_ASSERT_OK(store_->work().Complete(lease.job.id, 1, Score("report", false)));
  EXPECT_THAT(QueueDue(), IsEmpty());
}

TEST_F(AuditStoreTest, WhatNobodyHasOrCannotBeScoredIsNeverDue) {
  const std::string held = AddQuarantined("acme").adapter_id;
  clock_.Advance(kInterval);
  EXPECT_THAT(QueueDue(), IsEmpty());
  EXPECT_THAT(QueueOne("acme", held), StatusIs(absl::StatusCode::kFailedPrecondition));
  WT_ASSERT_OK(store_->safety().ReleaseAdapter(
      "acme", held, {"key-1", "release_adapter", held, "seen"}, {}, IdOf<AdapterRecord>));
  // The model on offer is another one now.
  WT_ASSERT_OK(store_->models().OfferBaseModels({{kModel, Sha256Hex("new base"), "Llama", 9, 64}}));
  EXPECT_THAT(QueueDue(), IsEmpty());
  EXPECT_THAT(QueueOne("acme", held), StatusIs(absl::StatusCode::kFailedPrecondition));
  const BaseModelRecord trained_on = {kModel, Sha256Hex("base"), "Llama", 9, 64};
  WT_ASSERT_OK(store_->models().OfferBaseModels({trained_on}));
  WT_ASSERT_OK(store_->models().OfferBaseModels({}));
  EXPECT_THAT(QueueDue(), IsEmpty());
  WT_ASSERT_OK(store_->models().OfferBaseModels({trained_on}));
  EXPECT_THAT(QueueDue(), ElementsAre(held));
}

TEST_F(AuditStoreTest, NoMoreAreOpenThanAllowedAndTheLongestWaitingComeFirst) {
  const std::string first = AddAdapter("a");
  clock_.Advance(absl::Seconds(1));
  const std::string second = AddAdapter("b");
  clock_.Advance(absl::Seconds(1));
  const std::string third = AddAdapter("c");
  clock_.Advance(kInterval);
  EXPECT_THAT(QueueDue(2), ElementsAre(first, second));
  EXPECT_THAT(QueueDue(2), IsEmpty());
  WT_ASSERT_OK(FinishAudit("report", false));
  EXPECT_THAT(QueueDue(2), ElementsAre(third));
}

TEST_F(AuditStoreTest, AdaptersOfSeveralSuitesShareTheRoom) {
  const std::string newer = AddAdapter("a");
  const std::string older = AddAdapter("b");
  clock_.Advance(absl::Seconds(1));
  AddSuite("suite-2");
  EXPECT_THAT(QueueOne("acme", newer, {}, /*max_open=*/0),
              StatusIs(absl::StatusCode::kResourceExhausted));
  ASSERT_THAT(QueueOne("acme", newer), IsOk());
  ASSERT_THAT(FinishAudit("report", false), IsOk());
  clock_.Advance(kInterval);
  // Neither suite takes the other's place.
  const NewestSuite same = [](const std::string&, const std::string& last) { return last; };
  for (const std::string& next : {older, newer}) {
    const auto jobs = store_->audits().QueueDueAudits({kInterval, 1}, same).value();
    ASSERT_THAT(jobs, SizeIs(1));
    EXPECT_EQ(jobs[0].audited_adapter, next);
    EXPECT_THAT(store_->audits().QueueDueAudits({kInterval, 1}, same).value(), IsEmpty());
    ASSERT_THAT(FinishAudit("report", false), IsOk());
  }
}

TEST_F(AuditStoreTest, JobsComeFirstButStarveNoAudit) {
  const std::string adapter = AddAdapter("a");
  ASSERT_THAT(QueueOne("acme", adapter), IsOk());
  clock_.Advance(options_.audit_patience);
  const std::string early = AddJob("acme");
  EXPECT_EQ(store_->jobs().GetJob("acme", early).value().queue_position, 1);
  clock_.Advance(absl::Microseconds(1));
  const std::string late = AddJob("acme");
  EXPECT_EQ(store_->work().GetQueueStats().value().oldest_queued, absl::Microseconds(1));
  EXPECT_EQ(Lease().job.id, early);
  EXPECT_EQ(Lease().job.audited_adapter, adapter);
  EXPECT_EQ(Lease().job.id, late);
}

TEST_F(AuditStoreTest, AnAuditThatCannotBeScoredFailsAndWaitsForTheInterval) {
  const std::string adapter = AddAdapter("a");
  AddSuite("suite-2");
  ASSERT_THAT(QueueDue(), ElementsAre(adapter));
  for (int attempt = 1; attempt < options_.max_attempts; ++attempt) {
    Lease();
    clock_.Advance(kTtl);
    EXPECT_THAT(store_->work().ExpireLeases().value(), SizeIs(1));
    EXPECT_EQ(Audits(adapter).at(0).state, AuditState::kQueued);
  }
  const LeaseRecord last = Lease();
  const JobRecord failed =
      store_->work()
          .Fail(last.job.id, last.job.attempt, {"WORKER_FAILED", "no memory", true, false, {}})
          .value();
  EXPECT_EQ(failed.audit_result, AuditState::kFailed);
  const AdapterAuditRecord audit = Audits(adapter).at(0);
  EXPECT_EQ(audit.state, AuditState::kFailed);
  EXPECT_EQ(audit.error_code, kMaxAttemptsExceeded);
  EXPECT_EQ(audit.attempt, options_.max_attempts);
  EXPECT_EQ(audit.end_time, clock_.Now());
  EXPECT_THAT(QueueDue(), IsEmpty());
  clock_.Advance(kInterval);
  EXPECT_THAT(QueueDue(), ElementsAre(adapter));
}

TEST_F(AuditStoreTest, DriftIsThatOfTheLastScore) {
  const std::string adapter = AddAdapter("a");
  ASSERT_THAT(QueueOne("acme", adapter), IsOk());
  const JobRecord drifted = FinishAudit("harmful", true).value();
  EXPECT_EQ(drifted.audit_result, AuditState::kDrifted);
  EXPECT_EQ(store_->audits().CountDriftedAdapters().value(), 1);
  // A failure says nothing of the adapter.
  ASSERT_THAT(QueueOne("acme", adapter), IsOk());
  WT_ASSERT_OK(store_->work().Fail(Lease().job.id, 1, {"INPUT_INVALID", "", false, false, {}}));
  EXPECT_EQ(store_->audits().CountDriftedAdapters().value(), 1);
  const auto listed = store_->audits().ListAuditsOfAll(true, {}).value().items;
  ASSERT_THAT(listed, SizeIs(1));
  EXPECT_EQ(listed[0].id, drifted.id);
  EXPECT_EQ(listed[0].tenant, "acme");
  EXPECT_EQ(listed[0].report, "harmful");
  EXPECT_EQ(listed[0].report_base, "base");
  EXPECT_EQ(listed[0].verdict, "verdict");
  ASSERT_THAT(QueueOne("acme", adapter), IsOk());
  ASSERT_THAT(FinishAudit("harmless", false), IsOk());
  EXPECT_EQ(store_->audits().CountDriftedAdapters().value(), 0);
  EXPECT_THAT(store_->audits().ListAuditsOfAll(true, {}).value().items, IsEmpty());
  EXPECT_THAT(store_->audits().ListAuditsOfAll(false, {}).value().items, SizeIs(3));
  EXPECT_EQ(Audits(adapter).at(0).state, AuditState::kPassed);
}

TEST_F(AuditStoreTest, AScoreIsTakenOnceAndByTheAttemptThatHoldsTheLease) {
  const std::string adapter = AddAdapter("a");
  ASSERT_THAT(QueueOne("acme", adapter), IsOk());
  const std::string id = Lease("w1").job.id;
  clock_.Advance(kTtl);
  ASSERT_THAT(store_->work().ExpireLeases(), IsOk());
  WorkQueue& work = store_->work();
  EXPECT_EQ(ReasonOf(work.Complete(id, 1, Score("late", true)).status()), kReasonLeaseLost);
  EXPECT_EQ(Lease("w2").job.attempt, 2);
  EXPECT_EQ(ReasonOf(work.Complete(id, 1, Score("late", true)).status()), kReasonLeaseLost);
  JobResult unjudged = Score("report", false);
  unjudged.audit.judge = nullptr;
  EXPECT_THAT(work.Complete(id, 2, unjudged), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(work.RecordArtifact(id, 2, ArtifactKind::kCheckpoint, {Sha256Hex("c"), 1}, 1),
              StatusIs(absl::StatusCode::kInvalidArgument));
  ASSERT_THAT(work.Complete(id, 2, Score("report", false)), IsOk());
  EXPECT_THAT(work.Complete(id, 2, Score("report", false)), IsOk());
  EXPECT_EQ(ReasonOf(work.Complete(id, 2, Score("other", false)).status()), kReasonLeaseLost);
  EXPECT_TRUE(work.EndedWith(kProviderTenant, id, 2, Sha256Hex("report")).value());
  EXPECT_EQ(Audits(adapter).at(0).report, "report");
}

TEST_F(AuditStoreTest, OnlyItsTenantSeesAnAdaptersAudits) {
  const std::string adapter = AddAdapter("a");
  const RequestKey key = {"provider", "AuditAdapter", "id-1", "body"};
  EXPECT_THAT(QueueOne("rival", adapter, key), StatusIs(absl::StatusCode::kNotFound));
  const Answer first = QueueOne("acme", adapter, key).value();
  EXPECT_TRUE(QueueOne("acme", adapter, key).value().replayed);
  EXPECT_THAT(store_->audits().ListAudits("rival", adapter, {}),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(Audits(adapter), SizeIs(1));
  // It is nobody's fine-tuning job.
  for (const char* tenant : {"acme", "rival", kProviderTenant}) {
    EXPECT_THAT(store_->jobs().GetJob(tenant, first.response),
                StatusIs(absl::StatusCode::kNotFound));
  }
  const auto events = store_->safety().ListAuditEvents({}).value().items;
  EXPECT_EQ(events.at(0).entry.action, "audit_adapter");
  EXPECT_EQ(events.at(1).entry.action, "activate_security_vector");
}

TEST_F(AuditStoreTest, TheHistoryOnlyGrows) {
  const std::string adapter = AddAdapter("a");
  ASSERT_THAT(QueueOne("acme", adapter), IsOk());
  ASSERT_THAT(FinishAudit("report", true), IsOk());
  store_.reset();
  const auto database = Database::Open(options_.path).value();
  for (const char* sql :
       {"UPDATE adapter_audit SET result = 3", "DELETE FROM adapter_audit",
        "INSERT INTO job (id, tenant, kind, display_name, dataset_id, dataset_sha256, dataset_size,"
        " base_model, base_sha256, spec, estimate, vector, version, safety_suite, create_time)"
        " SELECT 'x', tenant, 3, '', '', '', 0, base_model, base_sha256, x'', x'', vector, version,"
        " safety_suite, 1 FROM job LIMIT 1"}) {
    EXPECT_FALSE(database->Execute(sql).ok()) << sql;
  }
}

}  // namespace
}  // namespace wardtune
