// Reported outputs: whose they are, how they are resolved, and what an export gives out.
#include <string>
#include <vector>

#include "storage/sqlite_database.h"
#include "storage/store_fixture.h"

namespace wardtune {
namespace {

using testing::IsOk;
using testing::StatusIs;
using State = OutputReportState;

class OutputReportStoreTest : public testing::StoreFixture {
 protected:
  OutputReportStoreTest() {
    options_.max_open_reports = 3;
    Open();
    AddTenant("acme");
    AddTenant("rival");
    ActivateVector();
    job_ = AddJob("acme");
    const absl::StatusOr<JobRecord> ended = Finish(Lease(), "adapter");
    EXPECT_THAT(ended, IsOk());
    if (ended.ok()) adapter_ = ended->adapter_id;
  }

  static NewOutputReport Report(const std::string& tenant, const std::string& adapter,
                                const std::string& job = "") {
    return {tenant, adapter, job, "privacy", "the prompt", "the output", "a comment"};
  }

  absl::StatusOr<Answer> Create(const NewOutputReport& report, const RequestKey& key = {}) {
    return store_->reports().CreateReport(report, key, IdOf<OutputReportRecord>);
  }

  // The id of a new report of acme's.
  std::string Add() {
    const absl::StatusOr<Answer> answer = Create(Report("acme", adapter_));
    EXPECT_THAT(answer, IsOk());
    return answer.ok() ? answer->response : "";
  }

  absl::StatusOr<Answer> Resolve(const std::string& tenant, const std::string& id,
                                 OutputReportEvent event, const std::string& category = "",
                                 const RequestKey& key = {}) {
    return store_->reports().ResolveReport(tenant, id, {event, category, "looked at"},
                                           {"key-2", "resolve", id, "looked at"}, key,
                                           IdOf<OutputReportRecord>);
  }

  State StateOfReport(const std::string& id) {
    return store_->reports().GetReport("acme", id).value().state;
  }

  size_t AuditEvents() { return store_->safety().ListAuditEvents({}).value().items.size(); }

  // Ids of the reports behind `cursor`, which moves on.
  std::vector<std::string> Export(std::string& cursor, int32_t limit = 10) {
    std::vector<std::string> ids;
    const auto reports = store_->reports().ListConfirmed(cursor, limit).value();
    for (const ConfirmedReport& each : reports) {
      ids.push_back(each.report.id);
      cursor = each.cursor;
    }
    return ids;
  }

  std::string job_;
  std::string adapter_;
};

TEST_F(OutputReportStoreTest, AReportKeepsWhatWasSentAndNamesItsJobAndModel) {
  const RequestKey key = {"acme", "ReportOutput", "id-1", "body"};
  const std::string id = Create(Report("acme", adapter_), key).value().response;
  EXPECT_TRUE(Create(Report("acme", adapter_), key).value().replayed);
  Open();
  const OutputReportRecord report = store_->reports().GetReport("acme", id).value();
  EXPECT_EQ(report.tenant, "acme");
  EXPECT_EQ(report.adapter_id, adapter_);
  EXPECT_EQ(report.job_id, job_);
  EXPECT_EQ(report.base_model, kModel);
  EXPECT_EQ(report.category, "privacy");
  EXPECT_EQ(report.prompt, "the prompt");
  EXPECT_EQ(report.output, "the output");
  EXPECT_EQ(report.comment, "a comment");
  EXPECT_EQ(report.state, State::kOpen);
  EXPECT_EQ(report.create_time, clock_.Now());
  EXPECT_EQ(store_->reports().ListReports("acme", {}).value().items.size(), 1U);
  // By its job, the same adapter is meant.
  const std::string by_job = Create(Report("acme", "", job_)).value().response;
  EXPECT_EQ(store_->reports().GetReport("acme", by_job).value().adapter_id, adapter_);
}

TEST_F(OutputReportStoreTest, AnotherTenantsNamesAreAsMissingOnes) {
  const std::string id = Add();
  const auto missing = [](const absl::Status& status, const std::string& name) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kNotFound,
                                 ::testing::HasSubstr(name + " does not exist")));
  };
  missing(Create(Report("rival", adapter_)).status(), adapter_);
  missing(Create(Report("rival", "none")).status(), "none");
  missing(Create(Report("rival", "", job_)).status(), job_);
  missing(store_->reports().GetReport("rival", id).status(), id);
  missing(Resolve("rival", id, OutputReportEvent::kConfirm).status(), id);
  EXPECT_EQ(StateOfReport(id), State::kOpen);
  EXPECT_TRUE(store_->reports().ListReports("rival", {}).value().items.empty());
  Add();
  const auto page = store_->reports().ListReports("acme", {1, ""}).value();
  EXPECT_THAT(store_->reports().ListReports("rival", {1, page.next_page_token}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(OutputReportStoreTest, AJobWithoutAdapterHasPutNothingOut) {
  const std::string queued = AddJob("acme");
  EXPECT_THAT(Create(Report("acme", "", queued)),
              StatusIs(absl::StatusCode::kFailedPrecondition, ::testing::HasSubstr("is QUEUED")));
}

TEST_F(OutputReportStoreTest, OpenReportsOfATenantAreBoundedAndResolvedOnesAreNot) {
  const std::string first = Add();
  Add();
  Add();
  const absl::Status full = Create(Report("acme", adapter_)).status();
  EXPECT_THAT(full, StatusIs(absl::StatusCode::kResourceExhausted,
                             ::testing::HasSubstr("3 reports are open")));
  EXPECT_EQ(ReasonOf(full), kReasonOpenReportsQuota);
  ASSERT_THAT(Resolve("acme", first, OutputReportEvent::kDismiss), IsOk());
  Add();
}

TEST_F(OutputReportStoreTest, AReportIsResolvedOnceAndWrittenDown) {
  const std::string harmful = Add();
  const std::string harmless = Add();
  const size_t before = AuditEvents();
  clock_.Advance(absl::Hours(1));
  const RequestKey key = {"provider", "ResolveOutputReport", "id-2", "body"};
  EXPECT_EQ(Resolve("acme", harmful, OutputReportEvent::kConfirm, "safety", key).value().response,
            harmful);
  EXPECT_TRUE(
      Resolve("acme", harmful, OutputReportEvent::kConfirm, "safety", key).value().replayed);
  ASSERT_THAT(Resolve("acme", harmless, OutputReportEvent::kDismiss), IsOk());
  for (const auto event : kAllOutputReportEvents) {
    EXPECT_THAT(
        Resolve("acme", harmful, event),
        StatusIs(absl::StatusCode::kFailedPrecondition, ::testing::HasSubstr("that is CONFIRMED")));
  }
  EXPECT_EQ(AuditEvents(), before + 2);
  const OutputReportRecord confirmed = store_->reports().GetReport("acme", harmful).value();
  EXPECT_EQ(confirmed.state, State::kConfirmed);
  EXPECT_EQ(confirmed.category, "privacy");
  EXPECT_EQ(confirmed.confirmed_category, "safety");
  EXPECT_EQ(confirmed.note, "looked at");
  EXPECT_EQ(confirmed.resolve_time, clock_.Now());
  const OutputReportRecord dismissed = store_->reports().GetReport("acme", harmless).value();
  EXPECT_EQ(dismissed.state, State::kDismissed);
  EXPECT_EQ(dismissed.confirmed_category, "");
  const auto counts = store_->reports().CountReports().value();
  EXPECT_EQ(counts.at(State::kOpen), 0);
  EXPECT_EQ(counts.at(State::kConfirmed), 1);
  EXPECT_EQ(counts.at(State::kDismissed), 1);
}

TEST_F(OutputReportStoreTest, TriageListsTheOldestFirstByState) {
  const std::vector<std::string> ids = {Add(), Add(), Add()};
  ASSERT_THAT(Resolve("acme", ids[1], OutputReportEvent::kConfirm), IsOk());
  const auto first = store_->reports().ListReportsOfAll(State::kOpen, {1, ""}).value();
  ASSERT_EQ(first.items.size(), 1U);
  EXPECT_EQ(first.items[0].id, ids[0]);
  const auto second =
      store_->reports().ListReportsOfAll(State::kOpen, {1, first.next_page_token}).value();
  ASSERT_EQ(second.items.size(), 1U);
  EXPECT_EQ(second.items[0].id, ids[2]);
  EXPECT_EQ(second.next_page_token, "");
  EXPECT_THAT(store_->reports().ListReportsOfAll({}, {1, first.next_page_token}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  const auto all = store_->reports().ListReportsOfAll({}, {}).value();
  ASSERT_EQ(all.items.size(), 3U);
  EXPECT_EQ(all.items[0].id, ids[0]);
  EXPECT_EQ(all.items[2].id, ids[2]);
}

TEST_F(OutputReportStoreTest, AnExportGoesOnBehindWhatItGaveOut) {
  const std::vector<std::string> ids = {Add(), Add(), Add()};
  ASSERT_THAT(Resolve("acme", ids[2], OutputReportEvent::kConfirm), IsOk());
  ASSERT_THAT(Resolve("acme", ids[1], OutputReportEvent::kDismiss), IsOk());
  std::string cursor;
  EXPECT_EQ(Export(cursor), std::vector<std::string>{ids[2]});
  // An older report that is confirmed later comes behind the cursor all the same.
  ASSERT_THAT(Resolve("acme", ids[0], OutputReportEvent::kConfirm), IsOk());
  EXPECT_EQ(Export(cursor), std::vector<std::string>{ids[0]});
  EXPECT_TRUE(Export(cursor).empty());
  std::string from_start;
  EXPECT_EQ(Export(from_start), (std::vector<std::string>{ids[2], ids[0]}));
  std::string one;
  EXPECT_EQ(Export(one, 1).size(), 1U);
  EXPECT_THAT(store_->reports().ListConfirmed("made up", 1),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr("after: ")));
  const auto list = store_->reports().ListReportsOfAll({}, {1, ""}).value();
  EXPECT_THAT(store_->reports().ListConfirmed(list.next_page_token, 1),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(OutputReportStoreTest, TheSchemaRefusesAHalfResolvedReport) {
  Add();
  store_.reset();
  const auto database = Database::Open(options_.path).value();
  for (const char* sql :
       {"UPDATE output_report SET state = 2", "UPDATE output_report SET note = 'x'",
        "UPDATE output_report SET confirmed_category = 'safety'",
        "UPDATE output_report SET state = 2, note = 'x', resolve_time = 1, resolved_seq = 1"}) {
    EXPECT_FALSE(database->Execute(sql).ok()) << sql;
  }
  EXPECT_TRUE(database
                  ->Execute("UPDATE output_report SET state = 3, note = 'x', resolve_time = 1,"
                            " resolved_seq = 1")
                  .ok());
  Open();
}

}  // namespace
}  // namespace wardtune
