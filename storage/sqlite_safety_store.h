// The safety gate and the audit trail in SQLite.
#ifndef WARDTUNE_STORAGE_SQLITE_SAFETY_STORE_H_
#define WARDTUNE_STORAGE_SQLITE_SAFETY_STORE_H_

#include <string>

#include "storage/sqlite_context.h"

namespace wardtune {

// The policy in force; version 0 without terms when none was ever set.
absl::StatusOr<SafetyPolicyRecord> CurrentSafetyPolicy(Database& database);

// That version; 0 is the one without terms. NOT_FOUND when there is no such version.
absl::StatusOr<SafetyPolicyRecord> FindSafetyPolicy(Database& database, int64_t version);

// Adds a row to the audit trail, as part of the transaction that does what it tells of.
absl::Status AppendAuditEvent(Database& database, const AuditEntry& entry, absl::Time now);

class SqliteSafetyStore final : public SafetyStore {
 public:
  explicit SqliteSafetyStore(SqliteContext& context) : context_(context) {}

  absl::StatusOr<Answer> SetSafetyPolicy(const std::string& terms, const AuditEntry& audit,
                                         const RequestKey& key,
                                         Encode<SafetyPolicyRecord> encode) override;
  absl::StatusOr<SafetyPolicyRecord> GetSafetyPolicy(int64_t version) override;
  absl::StatusOr<Answer> ReleaseAdapter(const std::string& tenant, const std::string& id,
                                        const AuditEntry& audit, const RequestKey& key,
                                        Encode<AdapterRecord> encode) override;
  absl::StatusOr<Page<AuditEventRecord>> ListAuditEvents(const PageRequest& page) override;

 private:
  SqliteContext& context_;
};

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_SQLITE_SAFETY_STORE_H_
