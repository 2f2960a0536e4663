// OutputReportService, and the triage of reports in AdminService.
// Thread safety: re-entrant functions; see handler_context.h.
#ifndef WARDTUNE_SERVER_HANDLERS_OUTPUT_REPORT_HANDLERS_H_
#define WARDTUNE_SERVER_HANDLERS_OUTPUT_REPORT_HANDLERS_H_

#include <memory>

#include "absl/status/statusor.h"
#include "server/handlers/handler_context.h"
#include "server/rpc/caller.h"
#include "server/rpc/stream_reactors.h"
#include "wardtune/v1/admin_service.pb.h"
#include "wardtune/v1/output_report_service.pb.h"

namespace wardtune {

absl::StatusOr<v1::ReportOutputResponse> ReportOutput(HandlerContext& context, const Caller& caller,
                                                      const v1::ReportOutputRequest& request);
absl::StatusOr<v1::GetOutputReportResponse> GetOutputReport(
    HandlerContext& context, const Caller& caller, const v1::GetOutputReportRequest& request);
absl::StatusOr<v1::ListOutputReportsResponse> ListOutputReports(
    HandlerContext& context, const Caller& caller, const v1::ListOutputReportsRequest& request);

absl::StatusOr<v1::ListAllOutputReportsResponse> ListAllOutputReports(
    HandlerContext& context, const Caller& caller, const v1::ListAllOutputReportsRequest& request);
absl::StatusOr<v1::ResolveOutputReportResponse> ResolveOutputReport(
    HandlerContext& context, const Caller& caller, const v1::ResolveOutputReportRequest& request);
// Writes the audit event, then sends the rows.
absl::StatusOr<std::unique_ptr<SendingCall<v1::ExportOutputReportsResponse>>> ExportOutputReports(
    HandlerContext& context, const Caller& caller, const v1::ExportOutputReportsRequest& request);

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_HANDLERS_OUTPUT_REPORT_HANDLERS_H_
