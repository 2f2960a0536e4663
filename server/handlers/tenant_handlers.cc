#include "server/handlers/tenant_handlers.h"

#include "base/status_macros.h"
#include "server/api_key.h"
#include "server/handlers/requests.h"
#include "server/handlers/resource_messages.h"
#include "server/resource_names.h"

namespace wardtune {
namespace {

constexpr std::string_view kTenantKind = "tenant";
constexpr std::string_view kKeyKind = "API key";

constexpr char kUpdatablePaths[] =
    "must list what to change, of display_name, max_active_jobs and max_dataset_bytes";

// Keys of the provider and the workers live under the provider's tenant, tenants' keys elsewhere.
absl::Status CheckRoleFitsTenant(const std::string& tenant, v1::Role role) {
  const bool provider_tenant = tenant == kProviderTenant;
  if (role != v1::ROLE_TENANT && role != v1::ROLE_PROVIDER && role != v1::ROLE_WORKER) {
    return InvalidField("role", "must be ROLE_TENANT, ROLE_PROVIDER or ROLE_WORKER");
  }
  if (provider_tenant != (role != v1::ROLE_TENANT)) {
    return InvalidField("role",
                        "tenants/provider has provider and worker keys, every other tenant has "
                        "tenant keys");
  }
  return absl::OkStatus();
}

absl::Status CheckLimit(int64_t limit, const std::string& field) {
  return limit < 0 ? InvalidField(field, "must not be negative") : absl::OkStatus();
}

void Audit(HandlerContext& context, const Caller& caller, std::string action, std::string target) {
  context.log.Write(
      "audit",
      {{"action", std::move(action)}, {"key", caller.key_id}, {"target", std::move(target)}});
}

}  // namespace

absl::StatusOr<v1::CreateTenantResponse> CreateTenant(HandlerContext& context, const Caller& caller,
                                                      const v1::CreateTenantRequest& request) {
  WT_RETURN_IF_ERROR(CheckNewId(request.tenant_id(), "tenant_id"));
  WT_RETURN_IF_ERROR(CheckDisplayName(request.display_name(), "display_name"));
  WT_RETURN_IF_ERROR(CheckRequestId(request.request_id()));
  WT_RETURN_IF_ERROR(CheckLimit(request.max_active_jobs(), "max_active_jobs"));
  WT_RETURN_IF_ERROR(CheckLimit(request.max_dataset_bytes(), "max_dataset_bytes"));
  TenantRecord tenant;
  tenant.id = request.tenant_id();
  tenant.display_name = request.display_name();
  tenant.max_active_jobs = request.max_active_jobs();
  tenant.max_dataset_bytes = request.max_dataset_bytes();
  WT_ASSIGN_OR_RETURN(
      const Answer answer,
      context.store.tenants().CreateTenant(
          tenant, MakeRequestKey(caller, "CreateTenant", request.request_id(), request),
          [](const TenantRecord& record) {
            v1::CreateTenantResponse response;
            *response.mutable_tenant() = ToMessage(record);
            return response.SerializeAsString();
          }));
  Audit(context, caller, "create_tenant", TenantName(request.tenant_id()));
  return ParseAnswer<v1::CreateTenantResponse>(answer);
}

absl::StatusOr<v1::UpdateTenantResponse> UpdateTenant(HandlerContext& context, const Caller& caller,
                                                      const v1::UpdateTenantRequest& request) {
  const v1::Tenant& wanted = request.tenant();
  WT_ASSIGN_OR_RETURN(const std::string id, ParseTenantName(wanted.name(), "tenant.name"));
  if (id == kProviderTenant) {
    return InvalidField("tenant.name", "tenants/provider is the provider's own and has no limits");
  }
  TenantChange change{.id = id};
  for (const std::string& path : request.update_mask().paths()) {
    if (path == "display_name") {
      WT_RETURN_IF_ERROR(CheckDisplayName(wanted.display_name(), "tenant.display_name"));
      change.display_name = wanted.display_name();
    } else if (path == "max_active_jobs") {
      WT_RETURN_IF_ERROR(CheckLimit(wanted.max_active_jobs(), "tenant.max_active_jobs"));
      change.max_active_jobs = wanted.max_active_jobs();
    } else if (path == "max_dataset_bytes") {
      WT_RETURN_IF_ERROR(CheckLimit(wanted.max_dataset_bytes(), "tenant.max_dataset_bytes"));
      change.max_dataset_bytes = wanted.max_dataset_bytes();
    } else {
      return InvalidField("update_mask", kUpdatablePaths);
    }
  }
  if (request.update_mask().paths().empty()) return InvalidField("update_mask", kUpdatablePaths);
  WT_ASSIGN_OR_RETURN(const TenantRecord tenant,
                      Named(kTenantKind, context.store.tenants().UpdateTenant(change)));
  Audit(context, caller, "update_tenant", TenantName(id));
  v1::UpdateTenantResponse response;
  *response.mutable_tenant() = ToMessage(tenant);
  return response;
}

absl::StatusOr<v1::ListTenantsResponse> ListTenants(HandlerContext& context, const Caller&,
                                                    const v1::ListTenantsRequest& request) {
  WT_ASSIGN_OR_RETURN(const auto page, context.store.tenants().ListTenants(PageOf(request)));
  v1::ListTenantsResponse response;
  for (const TenantRecord& tenant : page.items) *response.add_tenants() = ToMessage(tenant);
  response.set_next_page_token(page.next_page_token);
  return response;
}

absl::StatusOr<v1::CreateApiKeyResponse> CreateApiKey(HandlerContext& context, const Caller& caller,
                                                      const v1::CreateApiKeyRequest& request) {
  WT_ASSIGN_OR_RETURN(const std::string tenant, ParseTenantName(request.tenant(), "tenant"));
  WT_RETURN_IF_ERROR(CheckRoleFitsTenant(tenant, request.role()));
  WT_RETURN_IF_ERROR(CheckDisplayName(request.display_name(), "display_name"));
  const auto role = static_cast<KeyRole>(request.role());
  const std::string secret = MintApiKey(role);
  ApiKeyRecord key;
  key.id = RandomId(kKeyIdLength);
  key.tenant = tenant;
  key.role = role;
  key.secret_sha256 = ApiKeyHash(secret);
  key.display_name = request.display_name();
  WT_ASSIGN_OR_RETURN(const ApiKeyRecord stored,
                      Named(kTenantKind, context.store.tenants().CreateApiKey(key)));
  v1::CreateApiKeyResponse response;
  *response.mutable_api_key() = ToMessage(stored);
  response.set_secret(secret);
  Audit(context, caller, "create_api_key", response.api_key().name());
  return response;
}

absl::StatusOr<v1::ListApiKeysResponse> ListApiKeys(HandlerContext& context, const Caller&,
                                                    const v1::ListApiKeysRequest& request) {
  WT_ASSIGN_OR_RETURN(const std::string tenant, ParseTenantName(request.tenant(), "tenant"));
  WT_ASSIGN_OR_RETURN(const auto page, Named(kTenantKind, context.store.tenants().ListApiKeys(
                                                              tenant, PageOf(request))));
  v1::ListApiKeysResponse response;
  for (const ApiKeyRecord& key : page.items) *response.add_api_keys() = ToMessage(key);
  response.set_next_page_token(page.next_page_token);
  return response;
}

absl::StatusOr<v1::RevokeApiKeyResponse> RevokeApiKey(HandlerContext& context, const Caller& caller,
                                                      const v1::RevokeApiKeyRequest& request) {
  WT_ASSIGN_OR_RETURN(const TenantAndId name,
                      ParseTenantResource(kApiKeys, request.name(), "name"));
  WT_ASSIGN_OR_RETURN(const ApiKeyRecord key,
                      Named(kKeyKind, context.store.tenants().RevokeApiKey(name.tenant, name.id)));
  v1::RevokeApiKeyResponse response;
  *response.mutable_api_key() = ToMessage(key);
  Audit(context, caller, "revoke_api_key", response.api_key().name());
  return response;
}

}  // namespace wardtune
