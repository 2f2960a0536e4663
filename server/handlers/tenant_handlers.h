// AdminService: tenants and their keys.
// Thread safety: re-entrant functions; see handler_context.h.
#ifndef WARDTUNE_SERVER_HANDLERS_TENANT_HANDLERS_H_
#define WARDTUNE_SERVER_HANDLERS_TENANT_HANDLERS_H_

#include "absl/status/statusor.h"
#include "server/handlers/handler_context.h"
#include "server/rpc/caller.h"
#include "wardtune/v1/admin_service.pb.h"

namespace wardtune {

absl::StatusOr<v1::CreateTenantResponse> CreateTenant(HandlerContext& context, const Caller& caller,
                                                      const v1::CreateTenantRequest& request);
absl::StatusOr<v1::UpdateTenantResponse> UpdateTenant(HandlerContext& context, const Caller& caller,
                                                      const v1::UpdateTenantRequest& request);
absl::StatusOr<v1::ListTenantsResponse> ListTenants(HandlerContext& context, const Caller& caller,
                                                    const v1::ListTenantsRequest& request);
absl::StatusOr<v1::CreateApiKeyResponse> CreateApiKey(HandlerContext& context, const Caller& caller,
                                                      const v1::CreateApiKeyRequest& request);
absl::StatusOr<v1::ListApiKeysResponse> ListApiKeys(HandlerContext& context, const Caller& caller,
                                                    const v1::ListApiKeysRequest& request);
absl::StatusOr<v1::RevokeApiKeyResponse> RevokeApiKey(HandlerContext& context, const Caller& caller,
                                                      const v1::RevokeApiKeyRequest& request);

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_HANDLERS_TENANT_HANDLERS_H_
