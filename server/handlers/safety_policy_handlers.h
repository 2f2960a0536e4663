// AdminService: the safety policy, releases from quarantine and the audit trail.
// Thread safety: re-entrant functions; see handler_context.h.
#ifndef WARDTUNE_SERVER_HANDLERS_SAFETY_POLICY_HANDLERS_H_
#define WARDTUNE_SERVER_HANDLERS_SAFETY_POLICY_HANDLERS_H_

#include "absl/status/statusor.h"
#include "server/handlers/handler_context.h"
#include "server/rpc/caller.h"
#include "wardtune/v1/admin_service.pb.h"

namespace wardtune {

absl::StatusOr<v1::SetSafetyPolicyResponse> SetSafetyPolicy(
    HandlerContext& context, const Caller& caller, const v1::SetSafetyPolicyRequest& request);
absl::StatusOr<v1::GetSafetyPolicyResponse> GetSafetyPolicy(
    HandlerContext& context, const Caller& caller, const v1::GetSafetyPolicyRequest& request);
absl::StatusOr<v1::ReleaseAdapterResponse> ReleaseAdapter(HandlerContext& context,
                                                          const Caller& caller,
                                                          const v1::ReleaseAdapterRequest& request);
absl::StatusOr<v1::ListAuditEventsResponse> ListAuditEvents(
    HandlerContext& context, const Caller& caller, const v1::ListAuditEventsRequest& request);

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_HANDLERS_SAFETY_POLICY_HANDLERS_H_
