// Audits of adapters in SQLite.
#ifndef WARDTUNE_STORAGE_SQLITE_AUDIT_STORE_H_
#define WARDTUNE_STORAGE_SQLITE_AUDIT_STORE_H_

#include <string>
#include <vector>

#include "storage/audit_store.h"
#include "storage/sqlite_context.h"

namespace wardtune {

// What an audit found, as part of the transaction that ends its job. Inside the caller's
// transaction; INVALID_ARGUMENT for a score without a judge.
absl::Status StoreAuditScore(Database& database, const JobRecord& job, const JobResult& result,
                             absl::Time now);
// The same of an audit that ended without a score.
absl::Status StoreAuditFailure(Database& database, const JobRecord& job, absl::Time now);

// The adapter that an audit scores, by its id alone: an audit's job is the provider's, its adapter
// a tenant's. Inside the caller's transaction.
absl::StatusOr<AdapterRecord> FindAuditedAdapter(Database& database, const std::string& id);

class SqliteAuditStore final : public AuditStore {
 public:
  explicit SqliteAuditStore(SqliteContext& context) : context_(context) {}

  absl::StatusOr<std::vector<JobRecord>> QueueDueAudits(const AuditPlan& plan,
                                                        const NewestSuite& newest) override;
  absl::StatusOr<Answer> QueueAudit(const std::string& tenant, const std::string& adapter_id,
                                    int32_t max_open, const NewestSuite& newest,
                                    const AuditEntry& audit, const RequestKey& key,
                                    Encode<AdapterAuditRecord> encode) override;
  absl::StatusOr<Page<AdapterAuditRecord>> ListAudits(const std::string& tenant,
                                                      const std::string& adapter_id,
                                                      const PageRequest& page) override;
  absl::StatusOr<Page<AdapterAuditRecord>> ListAuditsOfAll(bool drifted,
                                                           const PageRequest& page) override;
  absl::StatusOr<int64_t> CountDriftedAdapters() override;

 private:
  SqliteContext& context_;
};

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_SQLITE_AUDIT_STORE_H_
