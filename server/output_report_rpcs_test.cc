// Reported outputs through the API: from a customer's report over the provider's triage to the rows
// of a data set.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/testing/server_fixture.h"

namespace wardtune {
namespace {

using testing::FailsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Outcome;
using testing::Succeeds;
using Admin = v1::AdminService::Stub;
using Reports = v1::OutputReportService::Stub;

constexpr char kRetriedId[] = "6f1c1f9e-5f0e-4a55-9d5a-0d7c6a1b2c3d";

class OutputReportRpcsTest : public testing::ServerFixture {
 protected:
  OutputReportRpcsTest() {
    options_.limits.max_open_reports = 3;
    StartServer();
    AddTenants();
    ActivateVector();
    job_ = AddJob(acme_key_);
    DoWork("adapter");
    adapter_ = GetJob(acme_key_, job_).adapter();
  }

  v1::ReportOutputRequest Request(const std::string& output = "placeholder output") {
    v1::ReportOutputRequest request;
    request.set_adapter(adapter_);
    request.set_category("privacy");
    request.set_prompt("placeholder prompt");
    request.set_output(output);
    request.set_comment("placeholder comment");
    return request;
  }

  Outcome Report(const std::string& key, const v1::ReportOutputRequest& request) {
    v1::ReportOutputResponse response;
    const Outcome outcome = Call(&Reports::ReportOutput, key, request, response);
    report_ = response.report();
    return outcome;
  }

  // The name of a new report.
  std::string AddReport(const std::string& output = "placeholder output") {
    EXPECT_THAT(Report(acme_key_, Request(output)), Succeeds());
    return report_.name();
  }

  v1::OutputReport Get(const std::string& key, const std::string& name) {
    v1::GetOutputReportRequest request;
    request.set_name(name);
    v1::GetOutputReportResponse response;
    EXPECT_THAT(Call(&Reports::GetOutputReport, key, request, response), Succeeds());
    return response.report();
  }

  static v1::ResolveOutputReportRequest Resolution(const std::string& name,
                                                   v1::OutputReport::State state,
                                                   const std::string& category = "") {
    v1::ResolveOutputReportRequest request;
    request.set_name(name);
    request.set_state(state);
    request.set_category(category);
    request.set_note("reviewed by the provider");
    return request;
  }

  Outcome Resolve(const v1::ResolveOutputReportRequest& request) {
    v1::ResolveOutputReportResponse response;
    const Outcome outcome = Call(&Admin::ResolveOutputReport, provider_key_, request, response);
    report_ = response.report();
    return outcome;
  }

  // The rows behind `after`.
  std::vector<v1::ExportOutputReportsResponse> Export(const std::string& after) {
    v1::ExportOutputReportsRequest request;
    request.set_after(after);
    request.set_reason("next vector");
    testing::CallContext context(provider_key_);
    const auto stub = StubOf<v1::AdminService>();
    const auto reader = stub->ExportOutputReports(&context, request);
    std::vector<v1::ExportOutputReportsResponse> rows;
    v1::ExportOutputReportsResponse row;
    while (reader->Read(&row)) rows.push_back(row);
    EXPECT_THAT(testing::OutcomeOf(reader->Finish()), Succeeds());
    return rows;
  }

  v1::ListAuditEventsResponse Audit() {
    v1::ListAuditEventsResponse response;
    EXPECT_THAT(
        Call(&Admin::ListAuditEvents, provider_key_, v1::ListAuditEventsRequest(), response),
        Succeeds());
    return response;
  }

  std::string job_;
  std::string adapter_;
  v1::OutputReport report_;
};

TEST_F(OutputReportRpcsTest, AReportIsTriagedAndItsTenantSeesTheResolution) {
  v1::ReportOutputRequest request = Request();
  request.set_request_id(kRetriedId);
  ASSERT_THAT(Report(acme_key_, request), Succeeds());
  const std::string name = report_.name();
  EXPECT_THAT(name, HasSubstr("tenants/acme/outputReports/"));
  EXPECT_EQ(report_.adapter(), adapter_);
  EXPECT_EQ(report_.job(), job_);
  EXPECT_EQ(report_.base_model(), "baseModels/tiny");
  EXPECT_EQ(report_.state(), v1::OutputReport::STATE_OPEN);
  EXPECT_FALSE(report_.has_resolve_time());
  ASSERT_THAT(Report(acme_key_, request), Succeeds());
  EXPECT_EQ(report_.name(), name) << "a retry must not make a second report";

  v1::ListAllOutputReportsRequest list;
  list.set_state(v1::OutputReport::STATE_OPEN);
  v1::ListAllOutputReportsResponse open;
  ASSERT_THAT(Call(&Admin::ListAllOutputReports, provider_key_, list, open), Succeeds());
  ASSERT_EQ(open.reports_size(), 1);
  EXPECT_EQ(open.reports(0).prompt(), "placeholder prompt");
  EXPECT_EQ(open.reports(0).output(), "placeholder output");
  EXPECT_EQ(open.reports(0).comment(), "placeholder comment");

  v1::ResolveOutputReportRequest resolution =
      Resolution(name, v1::OutputReport::STATE_CONFIRMED, "safety");
  resolution.set_request_id(kRetriedId);
  for (int i = 0; i < 2; ++i) {
    ASSERT_THAT(Resolve(resolution), Succeeds());
    EXPECT_EQ(report_.state(), v1::OutputReport::STATE_CONFIRMED);
  }
  const Outcome again = Resolve(Resolution(name, v1::OutputReport::STATE_DISMISSED));
  EXPECT_THAT(again, FailsWith(grpc::StatusCode::FAILED_PRECONDITION));
  EXPECT_THAT(again.message, HasSubstr("CONFIRMED"));

  const v1::OutputReport seen = Get(acme_key_, name);
  EXPECT_EQ(seen.state(), v1::OutputReport::STATE_CONFIRMED);
  EXPECT_EQ(seen.category(), "privacy");
  EXPECT_EQ(seen.confirmed_category(), "safety");
  EXPECT_EQ(seen.note(), "reviewed by the provider");
  EXPECT_TRUE(seen.has_resolve_time());
  const v1::ListAuditEventsResponse audit = Audit();
  ASSERT_EQ(audit.events_size(), 2);
  EXPECT_EQ(audit.events(0).action(), "confirm_output_report");
  EXPECT_EQ(audit.events(0).resource(), name);
  EXPECT_EQ(audit.events(0).reason(), "reviewed by the provider");
  EXPECT_NE(audit.events(0).key_id(), "");
}

TEST_F(OutputReportRpcsTest, AnExportIsADataSetAndGivesNothingTwice) {
  const std::string first = AddReport("a \"quoted\" answer\nof two lines \xC3\xA4");
  const std::string second = AddReport();
  const std::string dismissed = AddReport();
  ASSERT_THAT(Resolve(Resolution(second, v1::OutputReport::STATE_CONFIRMED)), Succeeds());
  ASSERT_THAT(Resolve(Resolution(dismissed, v1::OutputReport::STATE_DISMISSED)), Succeeds());
  const auto early = Export("");
  ASSERT_EQ(early.size(), 1U);
  EXPECT_EQ(early[0].report(), second);
  ASSERT_THAT(Resolve(Resolution(first, v1::OutputReport::STATE_CONFIRMED, "safety")), Succeeds());
  const auto late = Export(early[0].cursor());
  ASSERT_EQ(late.size(), 1U);
  EXPECT_EQ(late[0].report(), first);
  EXPECT_THAT(late[0].row(), HasSubstr(R"("category":"safety")"));
  EXPECT_TRUE(Export(late[0].cursor()).empty());

  std::string bytes;
  for (const auto& row : Export("")) absl::StrAppend(&bytes, row.row(), "\n");
  v1::UploadDatasetRequest::Header header;
  header.set_name(AddDataset(provider_key_));
  v1::UploadDatasetResponse uploaded;
  ASSERT_THAT(Upload(provider_key_, header, bytes, &uploaded), Succeeds());
  EXPECT_EQ(uploaded.report().valid_rows(), 2);
  EXPECT_EQ(uploaded.report().supervised_turns(), 2);

  const v1::ListAuditEventsResponse audit = Audit();
  // Behind the fourth, the confirmation between the first export and the second.
  ASSERT_GE(audit.events_size(), 5);
  for (const int i : {0, 1, 2, 4}) {
    EXPECT_EQ(audit.events(i).action(), "export_output_reports") << i;
    EXPECT_EQ(audit.events(i).resource(), "outputReports");
    EXPECT_EQ(audit.events(i).reason(), "next vector");
  }
}

TEST_F(OutputReportRpcsTest, AnExportSendsMoreThanItReadsAtOnce) {
  constexpr int kReports = 120;
  for (int i = 0; i < kReports; ++i) {
    const std::string name = AddReport(absl::StrCat("output ", i));
    ASSERT_THAT(Resolve(Resolution(name, v1::OutputReport::STATE_CONFIRMED)), Succeeds());
  }
  const auto rows = Export("");
  ASSERT_EQ(rows.size(), kReports);
  for (int i = 0; i < kReports; ++i) {
    EXPECT_THAT(rows[i].row(), HasSubstr(absl::StrCat("\"output ", i, "\"")));
  }
  EXPECT_EQ(Export(rows[99].cursor()).size(), 20U);
}

TEST_F(OutputReportRpcsTest, WhatCannotBeARowOrATriageIsRefusedNamingTheField) {
  using R = v1::ReportOutputRequest&;
  const auto report = [&](auto change) {
    v1::ReportOutputRequest request = Request();
    change(request);
    const Outcome outcome = Report(acme_key_, request);
    EXPECT_THAT(outcome, FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
    return outcome.message;
  };
  EXPECT_THAT(report([](R r) { r.clear_source(); }), HasSubstr("adapter"));
  EXPECT_THAT(report([](R r) { r.set_adapter("adapters/x"); }), HasSubstr("adapter"));
  for (const char* category : {"", "Privacy", "two words", "1st", "all", "a/b",
                               "x234567890123456789012345678901234567"
                               "890123456789012345678901234"}) {
    EXPECT_THAT(report([&](R r) { r.set_category(category); }), HasSubstr("category")) << category;
  }
  EXPECT_THAT(report([](R r) { r.clear_prompt(); }), HasSubstr("prompt"));
  EXPECT_THAT(report([](R r) { r.set_prompt(std::string(8193, 'x')); }), HasSubstr("prompt"));
  EXPECT_THAT(report([](R r) { r.set_output(" \n"); }), HasSubstr("output"));
  EXPECT_THAT(report([](R r) { r.set_output(std::string(16385, 'x')); }), HasSubstr("output"));
  EXPECT_THAT(report([](R r) { r.set_output(std::string("a\0b", 3)); }), HasSubstr("output"));
  EXPECT_THAT(report([](R r) { r.set_comment(std::string(2049, 'x')); }), HasSubstr("comment"));
  EXPECT_THAT(report([](R r) { r.set_request_id("7"); }), HasSubstr("request_id"));
  v1::ReportOutputRequest largest = Request(std::string(16384, 'x'));
  largest.set_prompt(std::string(8192, 'x'));
  largest.set_comment(std::string(2048, 'x'));
  EXPECT_THAT(Report(acme_key_, largest), Succeeds());

  const std::string name = report_.name();
  using Q = v1::ResolveOutputReportRequest&;
  const auto resolve = [&](auto change) {
    v1::ResolveOutputReportRequest request = Resolution(name, v1::OutputReport::STATE_CONFIRMED);
    change(request);
    const Outcome outcome = Resolve(request);
    EXPECT_THAT(outcome, FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
    return outcome.message;
  };
  EXPECT_THAT(resolve([](Q q) { q.set_state(v1::OutputReport::STATE_OPEN); }), HasSubstr("state"));
  EXPECT_THAT(resolve([](Q q) { q.set_category("all"); }), HasSubstr("category"));
  EXPECT_THAT(resolve([](Q q) { q.set_category(std::string(64, 'x')); }), HasSubstr("category"));
  EXPECT_THAT(resolve([](Q q) {
                q.set_state(v1::OutputReport::STATE_DISMISSED);
                q.set_category("safety");
              }),
              HasSubstr("category"));
  EXPECT_THAT(resolve([](Q q) { q.clear_note(); }), HasSubstr("note"));
  EXPECT_EQ(Get(acme_key_, name).state(), v1::OutputReport::STATE_OPEN);
  v1::ListOutputReportsRequest list;
  list.set_page_size(101);
  v1::ListOutputReportsResponse page;
  EXPECT_THAT(Call(&Reports::ListOutputReports, acme_key_, list, page),
              FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
}

TEST_F(OutputReportRpcsTest, ATenantSeesItsOwnReportsAloneAndCannotReportForOthers) {
  const std::string name = AddReport();
  std::vector<Outcome> outcomes;
  for (const std::string& adapter :
       {adapter_, std::string("tenants/rival/adapters/none"),
        "tenants/rival/adapters/" + adapter_.substr(adapter_.rfind('/') + 1)}) {
    v1::ReportOutputRequest request = Request();
    request.set_adapter(adapter);
    outcomes.push_back(Report(rival_key_, request));
    EXPECT_THAT(outcomes.back(), FailsWith(grpc::StatusCode::NOT_FOUND));
    EXPECT_EQ(outcomes.back(), outcomes.front()) << adapter;
  }
  v1::GetOutputReportResponse got;
  for (const char* missing : {"tenants/rival/outputReports/none", ""}) {
    v1::GetOutputReportRequest request;
    request.set_name(*missing == '\0' ? name : missing);
    EXPECT_THAT(Call(&Reports::GetOutputReport, rival_key_, request, got),
                FailsWith(grpc::StatusCode::NOT_FOUND));
  }
  v1::ListOutputReportsResponse list;
  ASSERT_THAT(Call(&Reports::ListOutputReports, rival_key_, v1::ListOutputReportsRequest(), list),
              Succeeds());
  EXPECT_EQ(list.reports_size(), 0);
  ASSERT_THAT(Call(&Reports::ListOutputReports, acme_key_, v1::ListOutputReportsRequest(), list),
              Succeeds());
  ASSERT_EQ(list.reports_size(), 1);
  EXPECT_EQ(list.reports(0).name(), name);
  EXPECT_THAT(Resolve(Resolution("tenants/rival/outputReports/" + name.substr(name.rfind('/') + 1),
                                 v1::OutputReport::STATE_CONFIRMED)),
              FailsWith(grpc::StatusCode::NOT_FOUND));
}

TEST_F(OutputReportRpcsTest, OpenReportsAreBounded) {
  for (int i = 0; i < 3; ++i) AddReport();
  const Outcome full = Report(acme_key_, Request());
  EXPECT_THAT(full, FailsWith(grpc::StatusCode::RESOURCE_EXHAUSTED, "OPEN_REPORTS_QUOTA_EXCEEDED"));
  EXPECT_THAT(full.message, HasSubstr("3 reports are open"));
  EXPECT_THAT(full.message, HasSubstr("wait until the provider has resolved some"));
}

TEST_F(OutputReportRpcsTest, TheLogHoldsNoTextOfAReport) {
  const std::string name = AddReport();
  ASSERT_THAT(Resolve(Resolution(name, v1::OutputReport::STATE_CONFIRMED)), Succeeds());
  ASSERT_EQ(Export("").size(), 1U);
  v1::ReportOutputRequest bad = Request();
  bad.set_category("Placeholder Category");
  EXPECT_THAT(Report(acme_key_, bad), FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
  server_->Shutdown();
  EXPECT_THAT(log_.str(), HasSubstr("OutputReportService/ReportOutput"));
  EXPECT_THAT(log_.str(), Not(HasSubstr("laceholder")));
  EXPECT_THAT(log_.str(), Not(HasSubstr("reviewed by")));
}

}  // namespace
}  // namespace wardtune
