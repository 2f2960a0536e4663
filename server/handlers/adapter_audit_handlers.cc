#include "server/handlers/adapter_audit_handlers.h"

#include <string>

#include "base/status_macros.h"
#include "server/audit_scheduler.h"
#include "server/handlers/requests.h"
#include "server/handlers/resource_messages.h"
#include "server/resource_names.h"
#include "storage/audit_store.h"

namespace wardtune {
namespace {

std::string ResultOf(AuditState state) {
  switch (state) {
    case AuditState::kPassed:
      return "passed";
    case AuditState::kDrifted:
      return "drifted";
    default:
      return "failed";
  }
}

template <typename Response>
Response ToResponse(const Page<AdapterAuditRecord>& page) {
  Response response;
  for (const AdapterAuditRecord& record : page.items) *response.add_audits() = ToMessage(record);
  response.set_next_page_token(page.next_page_token);
  return response;
}

}  // namespace

absl::StatusOr<v1::ListAdapterAuditsResponse> ListAdapterAudits(
    HandlerContext& context, const Caller& caller, const v1::ListAdapterAuditsRequest& request) {
  WT_ASSIGN_OR_RETURN(const std::string id,
                      ParseOwnId(caller, kAdapters, request.adapter(), "adapter"));
  WT_ASSIGN_OR_RETURN(
      const auto page,
      Named("adapter", context.store.audits().ListAudits(caller.tenant_id, id, PageOf(request))));
  return ToResponse<v1::ListAdapterAuditsResponse>(page);
}

absl::StatusOr<v1::AuditAdapterResponse> AuditAdapter(HandlerContext& context, const Caller& caller,
                                                      const v1::AuditAdapterRequest& request) {
  WT_ASSIGN_OR_RETURN(const TenantAndId name,
                      ParseTenantResource(kAdapters, request.name(), "name"));
  WT_RETURN_IF_ERROR(CheckAuditReason(request.reason(), "reason"));
  WT_RETURN_IF_ERROR(CheckRequestId(request.request_id()));
  WT_ASSIGN_OR_RETURN(const NewestSuite newest, LoadNewestSuites(context.store));
  const AuditEntry audit{caller.key_id, "audit_adapter", request.name(), request.reason()};
  WT_ASSIGN_OR_RETURN(
      const Answer answer,
      Named("adapter", context.store.audits().QueueAudit(
                           name.tenant, name.id, context.limits.max_open_audits, newest, audit,
                           MakeRequestKey(caller, "AuditAdapter", request.request_id(), request),
                           [](const AdapterAuditRecord& record) {
                             v1::AuditAdapterResponse response;
                             *response.mutable_audit() = ToMessage(record);
                             return response.SerializeAsString();
                           })));
  return ParseAnswer<v1::AuditAdapterResponse>(answer);
}

absl::StatusOr<v1::ListAllAdapterAuditsResponse> ListAllAdapterAudits(
    HandlerContext& context, const Caller&, const v1::ListAllAdapterAuditsRequest& request) {
  WT_ASSIGN_OR_RETURN(const auto page,
                      context.store.audits().ListAuditsOfAll(request.drifted(), PageOf(request)));
  return ToResponse<v1::ListAllAdapterAuditsResponse>(page);
}

void TellOfAudit(const JobRecord& job, ServerMetrics& metrics, StructuredLog& log) {
  if (!job.audit_result.has_value()) return;
  const std::string result = ResultOf(*job.audit_result);
  metrics.RecordAudit(result);
  log.Write("adapter_audit_ended", {{"audit", job.id},
                                    {"adapter", job.audited_adapter},
                                    {"suite", job.safety_suite},
                                    {"result", result},
                                    {"reason", job.error_code}});
}

}  // namespace wardtune
