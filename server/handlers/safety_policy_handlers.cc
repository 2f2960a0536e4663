#include "server/handlers/safety_policy_handlers.h"

#include "base/status_macros.h"
#include "server/handlers/requests.h"
#include "server/handlers/resource_messages.h"
#include "server/resource_names.h"
#include "server/safety_gate.h"

namespace wardtune {
namespace {

constexpr char kPolicyResource[] = "safetyPolicy";

}  // namespace

absl::StatusOr<v1::SetSafetyPolicyResponse> SetSafetyPolicy(
    HandlerContext& context, const Caller& caller, const v1::SetSafetyPolicyRequest& request) {
  WT_RETURN_IF_ERROR(CheckSafetyPolicy(request.policy()));
  WT_RETURN_IF_ERROR(CheckAuditReason(request.reason(), "reason"));
  WT_RETURN_IF_ERROR(CheckRequestId(request.request_id()));
  v1::SafetyPolicy terms = request.policy();
  terms.clear_version();
  terms.clear_created_by();
  const AuditEntry audit{caller.key_id, "set_safety_policy", kPolicyResource, request.reason()};
  WT_ASSIGN_OR_RETURN(const Answer answer,
                      context.store.safety().SetSafetyPolicy(
                          terms.SerializeAsString(), audit,
                          MakeRequestKey(caller, "SetSafetyPolicy", request.request_id(), request),
                          [](const SafetyPolicyRecord& record) {
                            v1::SetSafetyPolicyResponse response;
                            *response.mutable_policy() = ToMessage(record);
                            return response.SerializeAsString();
                          }));
  return ParseAnswer<v1::SetSafetyPolicyResponse>(answer);
}

absl::StatusOr<v1::GetSafetyPolicyResponse> GetSafetyPolicy(
    HandlerContext& context, const Caller&, const v1::GetSafetyPolicyRequest& request) {
  if (request.version() < 0) return InvalidField("version", "must not be negative");
  WT_ASSIGN_OR_RETURN(
      const SafetyPolicyRecord record,
      Named("safety policy", context.store.safety().GetSafetyPolicy(request.version())));
  v1::GetSafetyPolicyResponse response;
  *response.mutable_policy() = ToMessage(record);
  return response;
}

absl::StatusOr<v1::ReleaseAdapterResponse> ReleaseAdapter(
    HandlerContext& context, const Caller& caller, const v1::ReleaseAdapterRequest& request) {
  WT_ASSIGN_OR_RETURN(const TenantAndId name,
                      ParseTenantResource(kAdapters, request.name(), "name"));
  WT_RETURN_IF_ERROR(CheckAuditReason(request.reason(), "reason"));
  WT_RETURN_IF_ERROR(CheckRequestId(request.request_id()));
  const AuditEntry audit{caller.key_id, "release_adapter", request.name(), request.reason()};
  WT_ASSIGN_OR_RETURN(
      const Answer answer,
      Named("adapter", context.store.safety().ReleaseAdapter(
                           name.tenant, name.id, audit,
                           MakeRequestKey(caller, "ReleaseAdapter", request.request_id(), request),
                           [](const AdapterRecord& record) {
                             v1::ReleaseAdapterResponse response;
                             *response.mutable_adapter() = ToMessage(record);
                             return response.SerializeAsString();
                           })));
  if (!answer.replayed) context.metrics.RecordGate("released");
  return ParseAnswer<v1::ReleaseAdapterResponse>(answer);
}

absl::StatusOr<v1::ListAuditEventsResponse> ListAuditEvents(
    HandlerContext& context, const Caller&, const v1::ListAuditEventsRequest& request) {
  WT_ASSIGN_OR_RETURN(const auto page, context.store.safety().ListAuditEvents(PageOf(request)));
  v1::ListAuditEventsResponse response;
  for (const AuditEventRecord& record : page.items) *response.add_events() = ToMessage(record);
  response.set_next_page_token(page.next_page_token);
  return response;
}

}  // namespace wardtune
