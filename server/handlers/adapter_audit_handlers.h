// Audits of adapters: AdapterService.ListAdapterAudits, AdminService.AuditAdapter and
// AdminService.ListAllAdapterAudits, and what is told of one that ended.
// Thread safety: re-entrant functions; see handler_context.h.
#ifndef WARDTUNE_SERVER_HANDLERS_ADAPTER_AUDIT_HANDLERS_H_
#define WARDTUNE_SERVER_HANDLERS_ADAPTER_AUDIT_HANDLERS_H_

#include "absl/status/statusor.h"
#include "server/handlers/handler_context.h"
#include "server/rpc/caller.h"
#include "wardtune/v1/adapter_service.pb.h"
#include "wardtune/v1/admin_service.pb.h"

namespace wardtune {

absl::StatusOr<v1::ListAdapterAuditsResponse> ListAdapterAudits(
    HandlerContext& context, const Caller& caller, const v1::ListAdapterAuditsRequest& request);
absl::StatusOr<v1::AuditAdapterResponse> AuditAdapter(HandlerContext& context, const Caller& caller,
                                                      const v1::AuditAdapterRequest& request);
absl::StatusOr<v1::ListAllAdapterAuditsResponse> ListAllAdapterAudits(
    HandlerContext& context, const Caller& caller, const v1::ListAllAdapterAuditsRequest& request);

// Counts and logs an audit that has ended; nothing for other work and for an attempt alone.
void TellOfAudit(const JobRecord& job, ServerMetrics& metrics, StructuredLog& log);

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_HANDLERS_ADAPTER_AUDIT_HANDLERS_H_
