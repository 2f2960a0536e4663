#include "server/handlers/output_report_handlers.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "formats/chat_row.h"
#include "server/handlers/requests.h"
#include "server/handlers/resource_messages.h"
#include "server/resource_names.h"

namespace wardtune {
namespace {

constexpr std::string_view kReportKind = "report";
constexpr size_t kMaxCategoryBytes = 63;
constexpr size_t kMaxPromptBytes = 8 << 10;
constexpr size_t kMaxOutputBytes = 16 << 10;
constexpr size_t kMaxCommentBytes = 2 << 10;
// A page of the largest reports stays below gRPC's default of 4 MiB for an answer.
constexpr int32_t kMaxReportsOnPage = 100;
constexpr char kSumOfCategories[] = "all";

bool IsCategoryCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

absl::Status CheckReportedCategory(const std::string& category) {
  if (!category.empty() && category.size() <= kMaxCategoryBytes && category[0] >= 'a' &&
      category[0] <= 'z' && std::all_of(category.begin(), category.end(), IsCategoryCharacter) &&
      category != kSumOfCategories) {
    return absl::OkStatus();
  }
  return InvalidField(
      "category",
      "must be a word of 1 to 63 of a-z, 0-9, '-' and '_', beginning with a letter; "
      "not `all`");
}

// The provider may name any category that a suite may have.
absl::Status CheckCorrectedCategory(const v1::ResolveOutputReportRequest& request) {
  if (request.category().empty()) return absl::OkStatus();
  if (request.state() != v1::OutputReport::STATE_CONFIRMED) {
    return InvalidField("category", "goes with STATE_CONFIRMED alone");
  }
  if (request.category().size() > kMaxCategoryBytes || request.category() == kSumOfCategories) {
    return InvalidField("category", "must be 1 to 63 bytes, not `all`");
  }
  return CheckDisplayName(request.category(), "category");
}

absl::Status CheckText(const std::string& text, size_t least, size_t most,
                       const std::string& field) {
  if (text.size() < least || text.size() > most || text.find('\0') != std::string::npos) {
    return InvalidField(
        field, absl::StrCat("must be ", least, " to ", most, " bytes of UTF-8 without U+0000"));
  }
  return absl::OkStatus();
}

absl::Status CheckTexts(const v1::ReportOutputRequest& request) {
  WT_RETURN_IF_ERROR(CheckText(request.prompt(), 1, kMaxPromptBytes, "prompt"));
  WT_RETURN_IF_ERROR(CheckText(request.output(), 1, kMaxOutputBytes, "output"));
  WT_RETURN_IF_ERROR(CheckText(request.comment(), 0, kMaxCommentBytes, "comment"));
  // By the data sets' own rules, so that an export is a data set.
  const std::string row = WriteChatRow(request.prompt(), request.output(), request.category());
  if (ParseChatRow(row).ok()) return absl::OkStatus();
  return InvalidField("output", "must not be blank");
}

absl::Status CheckPageSize(int32_t page_size) {
  if (page_size >= 0 && page_size <= kMaxReportsOnPage) return absl::OkStatus();
  return InvalidField("page_size", absl::StrCat("must be between 0 and ", kMaxReportsOnPage));
}

absl::StatusOr<NewOutputReport> CheckRequest(const Caller& caller,
                                             const v1::ReportOutputRequest& request) {
  NewOutputReport report;
  report.tenant = caller.tenant_id;
  switch (request.source_case()) {
    case v1::ReportOutputRequest::kAdapter: {
      WT_ASSIGN_OR_RETURN(report.adapter_id,
                          ParseOwnId(caller, kAdapters, request.adapter(), "adapter"));
      break;
    }
    case v1::ReportOutputRequest::kJob: {
      WT_ASSIGN_OR_RETURN(report.job_id, ParseOwnId(caller, kJobs, request.job(), "job"));
      break;
    }
    case v1::ReportOutputRequest::SOURCE_NOT_SET:
      return InvalidField("adapter", "name the adapter, or its job in `job`");
  }
  WT_RETURN_IF_ERROR(CheckReportedCategory(request.category()));
  WT_RETURN_IF_ERROR(CheckTexts(request));
  WT_RETURN_IF_ERROR(CheckRequestId(request.request_id()));
  report.category = request.category();
  report.prompt = request.prompt();
  report.output = request.output();
  report.comment = request.comment();
  return report;
}

// Rows of the confirmed reports behind a cursor. Belongs to one call.
class ExportCall final : public SendingCall<v1::ExportOutputReportsResponse> {
 public:
  ExportCall(OutputReportStore& reports, std::vector<ConfirmedReport> first)
      : reports_(reports), pending_(std::move(first)) {}

  absl::StatusOr<Step> Next(v1::ExportOutputReportsResponse& message) override {
    if (sent_ == pending_.size()) {
      if (pending_.empty()) return Step::kEnd;
      WT_ASSIGN_OR_RETURN(pending_, reports_.ListConfirmed(pending_.back().cursor, kRowsPerRead));
      sent_ = 0;
      if (pending_.empty()) return Step::kEnd;
    }
    const auto& [report, cursor] = pending_[sent_++];
    message.set_row(WriteChatRow(report.prompt, report.output, report.confirmed_category));
    message.set_report(TenantResource(report.tenant, kOutputReports, report.id));
    message.set_cursor(cursor);
    return Step::kMessage;
  }

  static constexpr int32_t kRowsPerRead = 50;

 private:
  OutputReportStore& reports_;
  std::vector<ConfirmedReport> pending_;
  size_t sent_ = 0;  // Of pending_.
};

}  // namespace

absl::StatusOr<v1::ReportOutputResponse> ReportOutput(HandlerContext& context, const Caller& caller,
                                                      const v1::ReportOutputRequest& request) {
  WT_ASSIGN_OR_RETURN(const NewOutputReport report, CheckRequest(caller, request));
  const std::string_view kind = report.job_id.empty() ? "adapter" : "fine-tuning job";
  WT_ASSIGN_OR_RETURN(
      const Answer answer,
      Named(kind, context.store.reports().CreateReport(
                      report, MakeRequestKey(caller, "ReportOutput", request.request_id(), request),
                      [](const OutputReportRecord& record) {
                        v1::ReportOutputResponse response;
                        *response.mutable_report() = ToMessage(record);
                        return response.SerializeAsString();
                      })));
  return ParseAnswer<v1::ReportOutputResponse>(answer);
}

absl::StatusOr<v1::GetOutputReportResponse> GetOutputReport(
    HandlerContext& context, const Caller& caller, const v1::GetOutputReportRequest& request) {
  WT_ASSIGN_OR_RETURN(const std::string id,
                      ParseOwnId(caller, kOutputReports, request.name(), "name"));
  WT_ASSIGN_OR_RETURN(const OutputReportRecord record,
                      Named(kReportKind, context.store.reports().GetReport(caller.tenant_id, id)));
  v1::GetOutputReportResponse response;
  *response.mutable_report() = ToMessage(record);
  return response;
}

absl::StatusOr<v1::ListOutputReportsResponse> ListOutputReports(
    HandlerContext& context, const Caller& caller, const v1::ListOutputReportsRequest& request) {
  WT_RETURN_IF_ERROR(CheckPageSize(request.page_size()));
  WT_ASSIGN_OR_RETURN(const auto page,
                      context.store.reports().ListReports(caller.tenant_id, PageOf(request)));
  v1::ListOutputReportsResponse response;
  for (const OutputReportRecord& record : page.items) *response.add_reports() = ToMessage(record);
  response.set_next_page_token(page.next_page_token);
  return response;
}

absl::StatusOr<v1::ListAllOutputReportsResponse> ListAllOutputReports(
    HandlerContext& context, const Caller&, const v1::ListAllOutputReportsRequest& request) {
  std::optional<OutputReportState> state;
  if (request.state() != v1::OutputReport::STATE_UNSPECIFIED) {
    if (!v1::OutputReport::State_IsValid(request.state())) {
      return InvalidField("state", "is unknown");
    }
    state = static_cast<OutputReportState>(request.state());
  }
  WT_RETURN_IF_ERROR(CheckPageSize(request.page_size()));
  WT_ASSIGN_OR_RETURN(const auto page,
                      context.store.reports().ListReportsOfAll(state, PageOf(request)));
  v1::ListAllOutputReportsResponse response;
  for (const OutputReportRecord& record : page.items) *response.add_reports() = ToMessage(record);
  response.set_next_page_token(page.next_page_token);
  return response;
}

absl::StatusOr<v1::ResolveOutputReportResponse> ResolveOutputReport(
    HandlerContext& context, const Caller& caller, const v1::ResolveOutputReportRequest& request) {
  WT_ASSIGN_OR_RETURN(const TenantAndId name,
                      ParseTenantResource(kOutputReports, request.name(), "name"));
  const bool confirm = request.state() == v1::OutputReport::STATE_CONFIRMED;
  if (!confirm && request.state() != v1::OutputReport::STATE_DISMISSED) {
    return InvalidField("state", "must be STATE_CONFIRMED or STATE_DISMISSED");
  }
  WT_RETURN_IF_ERROR(CheckCorrectedCategory(request));
  WT_RETURN_IF_ERROR(CheckAuditReason(request.note(), "note"));
  WT_RETURN_IF_ERROR(CheckRequestId(request.request_id()));
  const ReportResolution resolution{
      confirm ? OutputReportEvent::kConfirm : OutputReportEvent::kDismiss, request.category(),
      request.note()};
  const AuditEntry audit{caller.key_id, confirm ? "confirm_output_report" : "dismiss_output_report",
                         request.name(), request.note()};
  WT_ASSIGN_OR_RETURN(const Answer answer,
                      Named(kReportKind, context.store.reports().ResolveReport(
                                             name.tenant, name.id, resolution, audit,
                                             MakeRequestKey(caller, "ResolveOutputReport",
                                                            request.request_id(), request),
                                             [](const OutputReportRecord& record) {
                                               v1::ResolveOutputReportResponse response;
                                               *response.mutable_report() = ToMessage(record);
                                               return response.SerializeAsString();
                                             })));
  return ParseAnswer<v1::ResolveOutputReportResponse>(answer);
}

absl::StatusOr<std::unique_ptr<SendingCall<v1::ExportOutputReportsResponse>>> ExportOutputReports(
    HandlerContext& context, const Caller& caller, const v1::ExportOutputReportsRequest& request) {
  WT_RETURN_IF_ERROR(CheckAuditReason(request.reason(), "reason"));
  OutputReportStore& reports = context.store.reports();
  WT_ASSIGN_OR_RETURN(std::vector<ConfirmedReport> first,
                      reports.ListConfirmed(request.after(), ExportCall::kRowsPerRead));
  WT_RETURN_IF_ERROR(reports.RecordExport(
      {caller.key_id, "export_output_reports", std::string(kOutputReports), request.reason()}));
  return std::make_unique<ExportCall>(reports, std::move(first));
}

}  // namespace wardtune
