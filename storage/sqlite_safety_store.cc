#include "storage/sqlite_safety_store.h"

#include "storage/not_found.h"
#include "storage/sqlite_job_store.h"

namespace wardtune {
namespace {

#define POLICY_QUERY "version, terms, created_by, create_time FROM safety_policy"

constexpr char kCurrentPolicy[] = "SELECT " POLICY_QUERY " ORDER BY version DESC LIMIT 1";
constexpr char kGetPolicy[] = "SELECT " POLICY_QUERY " WHERE version = ?";
constexpr char kAddPolicy[] =
    "INSERT INTO safety_policy (version, terms, created_by, create_time) VALUES (?, ?, ?, ?)";
constexpr char kRelease[] =
    "UPDATE adapter SET gate_state = ? WHERE tenant = ? AND id = ? AND gate_state = ?";
constexpr char kAddAudit[] =
    "INSERT INTO audit_event (time, key_id, action, resource, reason) VALUES (?, ?, ?, ?, ?)";
constexpr char kListAudit[] =
    "SELECT seq, time, key_id, action, resource, reason FROM audit_event"
    " WHERE seq < ? ORDER BY seq DESC LIMIT ?";

SafetyPolicyRecord ReadPolicy(Statement& row) {
  SafetyPolicyRecord policy;
  policy.version = row.Int();
  policy.terms = row.Text();
  policy.created_by = row.Text();
  policy.create_time = row.Time();
  return policy;
}

AuditEventRecord ReadAudit(Statement& row) {
  AuditEventRecord event;
  event.time = row.Time();
  event.entry.key_id = row.Text();
  event.entry.action = row.Text();
  event.entry.resource = row.Text();
  event.entry.reason = row.Text();
  return event;
}

}  // namespace

absl::StatusOr<SafetyPolicyRecord> CurrentSafetyPolicy(Database& database) {
  WT_ASSIGN_OR_RETURN(Statement row, database.Query(kCurrentPolicy));
  WT_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return SafetyPolicyRecord();
  return ReadPolicy(row);
}

absl::StatusOr<SafetyPolicyRecord> FindSafetyPolicy(Database& database, int64_t version) {
  if (version == 0) return SafetyPolicyRecord();
  WT_ASSIGN_OR_RETURN(Statement row, database.Query(kGetPolicy, version));
  WT_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return NotFound("safety policy", absl::StrCat(version));
  return ReadPolicy(row);
}

absl::Status AppendAuditEvent(Database& database, const AuditEntry& entry, absl::Time now) {
  return database.Run(kAddAudit, now, entry.key_id, entry.action, entry.resource, entry.reason)
      .status();
}

absl::StatusOr<Answer> SqliteSafetyStore::SetSafetyPolicy(const std::string& terms,
                                                          const AuditEntry& audit,
                                                          const RequestKey& key,
                                                          Encode<SafetyPolicyRecord> encode) {
  return Mutate<SafetyPolicyRecord>(
      context_, key, encode, [&](Database& database) -> absl::StatusOr<SafetyPolicyRecord> {
        WT_ASSIGN_OR_RETURN(const SafetyPolicyRecord before, CurrentSafetyPolicy(database));
        const absl::Time now = context_.clock.Now();
        WT_RETURN_IF_ERROR(
            database.Run(kAddPolicy, before.version + 1, Bytes{terms}, audit.key_id, now).status());
        WT_RETURN_IF_ERROR(AppendAuditEvent(database, audit, now));
        return CurrentSafetyPolicy(database);
      });
}

absl::StatusOr<SafetyPolicyRecord> SqliteSafetyStore::GetSafetyPolicy(int64_t version) {
  return ReadWith<SafetyPolicyRecord>(
      context_, [&](Database& database) -> absl::StatusOr<SafetyPolicyRecord> {
        return version == 0 ? CurrentSafetyPolicy(database) : FindSafetyPolicy(database, version);
      });
}

absl::StatusOr<Answer> SqliteSafetyStore::ReleaseAdapter(const std::string& tenant,
                                                         const std::string& id,
                                                         const AuditEntry& audit,
                                                         const RequestKey& key,
                                                         Encode<AdapterRecord> encode) {
  return Mutate<AdapterRecord>(
      context_, key, encode, [&](Database& database) -> absl::StatusOr<AdapterRecord> {
        WT_RETURN_IF_ERROR(FindAdapter(database, tenant, id).status());
        WT_ASSIGN_OR_RETURN(
            const int64_t released,
            database.Run(kRelease, GateState::kReleased, tenant, id, GateState::kQuarantined));
        if (released == 0) {
          return absl::FailedPreconditionError(
              "name: the adapter is not quarantined; there is nothing to release");
        }
        WT_RETURN_IF_ERROR(AppendAuditEvent(database, audit, context_.clock.Now()));
        return FindAdapter(database, tenant, id);
      });
}

absl::StatusOr<Page<AuditEventRecord>> SqliteSafetyStore::ListAuditEvents(const PageRequest& page) {
  WT_ASSIGN_OR_RETURN(const PageWindow window, OpenPage(context_, page, "audit"));
  return ReadWith<Page<AuditEventRecord>>(
      context_, [&](Database& database) -> absl::StatusOr<Page<AuditEventRecord>> {
        WT_ASSIGN_OR_RETURN(Statement rows,
                            database.Query(kListAudit, window.before_seq, window.limit + 1));
        return ReadPage<AuditEventRecord>(context_, window, std::move(rows), ReadAudit);
      });
}

}  // namespace wardtune
