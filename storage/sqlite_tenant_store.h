// Tenants and API keys in SQLite.
#ifndef WARDTUNE_STORAGE_SQLITE_TENANT_STORE_H_
#define WARDTUNE_STORAGE_SQLITE_TENANT_STORE_H_

#include <string>

#include "storage/sqlite_context.h"

namespace wardtune {

// NOT_FOUND when there is none.
absl::StatusOr<TenantRecord> FindTenant(Database& database, const std::string& id);

class SqliteTenantStore final : public TenantStore {
 public:
  explicit SqliteTenantStore(SqliteContext& context) : context_(context) {}

  absl::StatusOr<Answer> CreateTenant(const TenantRecord& tenant, const RequestKey& key,
                                      Encode<TenantRecord> encode) override;
  absl::StatusOr<TenantRecord> GetTenant(const std::string& id) override;
  absl::StatusOr<TenantRecord> UpdateTenant(const TenantChange& change) override;
  absl::StatusOr<Page<TenantRecord>> ListTenants(const PageRequest& page) override;
  absl::StatusOr<ApiKeyRecord> CreateApiKey(const ApiKeyRecord& key) override;
  absl::StatusOr<ApiKeyRecord> FindApiKey(const std::string& secret_sha256) override;
  absl::StatusOr<Page<ApiKeyRecord>> ListApiKeys(const std::string& tenant,
                                                 const PageRequest& page) override;
  absl::StatusOr<ApiKeyRecord> RevokeApiKey(const std::string& tenant,
                                            const std::string& id) override;

 private:
  SqliteContext& context_;
};

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_SQLITE_TENANT_STORE_H_
