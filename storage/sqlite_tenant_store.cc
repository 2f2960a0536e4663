#include "storage/sqlite_tenant_store.h"

#include "storage/not_found.h"
#include "storage/random_id.h"

namespace wardtune {
namespace {

// Macros, because only literals concatenate.
#define TENANT_COLUMNS "id, display_name, max_active_jobs, max_dataset_bytes, create_time"
#define KEY_COLUMNS "id, tenant, role, secret_sha256, display_name, create_time, revoke_time"

constexpr char kInsertTenant[] = "INSERT INTO tenant (" TENANT_COLUMNS
                                 ") VALUES (?, ?, ?, ?, ?)"
                                 " ON CONFLICT DO NOTHING";
constexpr char kGetTenant[] = "SELECT " TENANT_COLUMNS " FROM tenant WHERE id = ?";
constexpr char kUpdateTenant[] =
    "UPDATE tenant SET display_name = ?, max_active_jobs = ?, max_dataset_bytes = ? WHERE id = ?";
constexpr char kListTenants[] =
    "SELECT id, " TENANT_COLUMNS " FROM tenant WHERE id > ? ORDER BY id LIMIT ?";
constexpr char kInsertKey[] =
    "INSERT INTO api_key (id, tenant, role, secret_sha256, display_name, create_time)"
    " VALUES (?, ?, ?, ?, ?, ?)";
constexpr char kGetKey[] = "SELECT " KEY_COLUMNS " FROM api_key WHERE tenant = ? AND id = ?";
constexpr char kGetKeyByHash[] = "SELECT " KEY_COLUMNS " FROM api_key WHERE secret_sha256 = ?";
constexpr char kListKeys[] = "SELECT seq, " KEY_COLUMNS
                             " FROM api_key WHERE tenant = ? AND seq < ?"
                             " ORDER BY seq DESC LIMIT ?";
constexpr char kRevokeKey[] =
    "UPDATE api_key SET revoke_time = ? WHERE tenant = ? AND id = ? AND revoke_time IS NULL";

TenantRecord ReadTenant(Statement& row) {
  TenantRecord tenant;
  tenant.id = row.Text();
  tenant.display_name = row.Text();
  tenant.max_active_jobs = static_cast<int32_t>(row.Int());
  tenant.max_dataset_bytes = row.Int();
  tenant.create_time = row.Time();
  return tenant;
}

ApiKeyRecord ReadKey(Statement& row) {
  ApiKeyRecord key;
  key.id = row.Text();
  key.tenant = row.Text();
  key.role = row.As<KeyRole>();
  key.secret_sha256 = row.Text();
  key.display_name = row.Text();
  key.create_time = row.Time();
  key.revoke_time = row.Time();
  return key;
}

absl::StatusOr<ApiKeyRecord> FindKey(Database& database, const std::string& tenant,
                                     const std::string& id) {
  WT_ASSIGN_OR_RETURN(Statement row, database.Query(kGetKey, tenant, id));
  WT_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return NotFound("API key", id);
  return ReadKey(row);
}

}  // namespace

absl::StatusOr<TenantRecord> FindTenant(Database& database, const std::string& id) {
  WT_ASSIGN_OR_RETURN(Statement row, database.Query(kGetTenant, id));
  WT_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return NotFound("tenant", id);
  return ReadTenant(row);
}

absl::StatusOr<Answer> SqliteTenantStore::CreateTenant(const TenantRecord& tenant,
                                                       const RequestKey& key,
                                                       Encode<TenantRecord> encode) {
  return Mutate<TenantRecord>(
      context_, key, encode, [&](Database& database) -> absl::StatusOr<TenantRecord> {
        WT_ASSIGN_OR_RETURN(
            const int64_t inserted,
            database.Run(kInsertTenant, tenant.id, tenant.display_name, tenant.max_active_jobs,
                         tenant.max_dataset_bytes, context_.clock.Now()));
        if (inserted == 0) {
          return absl::AlreadyExistsError(
              absl::StrCat("tenant_id: ", tenant.id, " is taken; choose another id"));
        }
        return FindTenant(database, tenant.id);
      });
}

absl::StatusOr<TenantRecord> SqliteTenantStore::GetTenant(const std::string& id) {
  return ReadWith<TenantRecord>(context_,
                                [&](Database& database) { return FindTenant(database, id); });
}

absl::StatusOr<TenantRecord> SqliteTenantStore::UpdateTenant(const TenantChange& change) {
  return WriteWith<TenantRecord>(context_, [&](Database& database) -> absl::StatusOr<TenantRecord> {
    WT_ASSIGN_OR_RETURN(TenantRecord tenant, FindTenant(database, change.id));
    tenant.display_name = change.display_name.value_or(tenant.display_name);
    tenant.max_active_jobs = change.max_active_jobs.value_or(tenant.max_active_jobs);
    tenant.max_dataset_bytes = change.max_dataset_bytes.value_or(tenant.max_dataset_bytes);
    WT_RETURN_IF_ERROR(database
                           .Run(kUpdateTenant, tenant.display_name, tenant.max_active_jobs,
                                tenant.max_dataset_bytes, tenant.id)
                           .status());
    return tenant;
  });
}

absl::StatusOr<Page<TenantRecord>> SqliteTenantStore::ListTenants(const PageRequest& page) {
  WT_ASSIGN_OR_RETURN(const PageWindow window, OpenPage(context_, page, "tenants"));
  return ReadWith<Page<TenantRecord>>(
      context_, [&](Database& database) -> absl::StatusOr<Page<TenantRecord>> {
        WT_ASSIGN_OR_RETURN(Statement rows,
                            database.Query(kListTenants, window.after, window.limit + 1));
        return ReadPage<TenantRecord>(context_, window, std::move(rows), ReadTenant);
      });
}

absl::StatusOr<ApiKeyRecord> SqliteTenantStore::CreateApiKey(const ApiKeyRecord& key) {
  std::string id = key.id;
  if (id.empty()) {
    WT_ASSIGN_OR_RETURN(id, RandomId());
  }
  return WriteWith<ApiKeyRecord>(context_, [&](Database& database) -> absl::StatusOr<ApiKeyRecord> {
    WT_RETURN_IF_ERROR(FindTenant(database, key.tenant).status());
    WT_RETURN_IF_ERROR(database
                           .Run(kInsertKey, id, key.tenant, key.role, key.secret_sha256,
                                key.display_name, context_.clock.Now())
                           .status());
    return FindKey(database, key.tenant, id);
  });
}

absl::StatusOr<ApiKeyRecord> SqliteTenantStore::FindApiKey(const std::string& secret_sha256) {
  return ReadWith<ApiKeyRecord>(context_, [&](Database& database) -> absl::StatusOr<ApiKeyRecord> {
    WT_ASSIGN_OR_RETURN(Statement row, database.Query(kGetKeyByHash, secret_sha256));
    WT_ASSIGN_OR_RETURN(const bool found, row.Step());
    if (!found) return absl::NotFoundError("no such API key");
    return ReadKey(row);
  });
}

absl::StatusOr<Page<ApiKeyRecord>> SqliteTenantStore::ListApiKeys(const std::string& tenant,
                                                                  const PageRequest& page) {
  const std::string scope = absl::StrCat("keys/", tenant);
  WT_ASSIGN_OR_RETURN(const PageWindow window, OpenPage(context_, page, scope));
  return ReadWith<Page<ApiKeyRecord>>(
      context_, [&](Database& database) -> absl::StatusOr<Page<ApiKeyRecord>> {
        WT_RETURN_IF_ERROR(FindTenant(database, tenant).status());
        WT_ASSIGN_OR_RETURN(Statement rows,
                            database.Query(kListKeys, tenant, window.before_seq, window.limit + 1));
        return ReadPage<ApiKeyRecord>(context_, window, std::move(rows), ReadKey);
      });
}

absl::StatusOr<ApiKeyRecord> SqliteTenantStore::RevokeApiKey(const std::string& tenant,
                                                             const std::string& id) {
  return WriteWith<ApiKeyRecord>(context_, [&](Database& database) -> absl::StatusOr<ApiKeyRecord> {
    WT_RETURN_IF_ERROR(database.Run(kRevokeKey, context_.clock.Now(), tenant, id).status());
    return FindKey(database, tenant, id);
  });
}

}  // namespace wardtune
