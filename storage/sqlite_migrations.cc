#include "storage/sqlite_migrations.h"

#include <cstddef>
#include <cstdint>

#include "absl/strings/str_cat.h"

namespace wardtune {
namespace {

constexpr char kGetVersion[] = "PRAGMA user_version";
constexpr char kCreateVersionTable[] =
    "CREATE TABLE IF NOT EXISTS schema_version ("
    " version INTEGER PRIMARY KEY, name TEXT NOT NULL, apply_time INTEGER NOT NULL) STRICT";
constexpr char kNoteVersion[] =
    "INSERT INTO schema_version (version, name, apply_time) VALUES (?, ?, ?)";

absl::StatusOr<int64_t> GetVersion(Database& database) {
  WT_ASSIGN_OR_RETURN(Statement statement, database.Query(kGetVersion));
  WT_RETURN_IF_ERROR(statement.Step().status());
  return statement.Int();
}

absl::Status Apply(Database& database, int64_t version, const Migration& migration,
                   absl::Time now) {
  WT_ASSIGN_OR_RETURN(Transaction transaction,
                      Transaction::Begin(database, Transaction::Kind::kWrite));
  WT_RETURN_IF_ERROR(database.Execute(kCreateVersionTable));
  WT_RETURN_IF_ERROR(database.Execute(migration.sql));
  WT_RETURN_IF_ERROR(database.Run(kNoteVersion, version, migration.name, now).status());
  WT_RETURN_IF_ERROR(database.Execute(absl::StrCat("PRAGMA user_version = ", version)));
  return transaction.Commit();
}

}  // namespace

absl::Status Migrate(Database& database, const std::vector<Migration>& migrations, absl::Time now) {
  WT_ASSIGN_OR_RETURN(const int64_t version, GetVersion(database));
  const auto known = static_cast<int64_t>(migrations.size());
  if (version > known) {
    return absl::FailedPreconditionError(absl::StrCat(
        "database ", database.path(), " has schema version ", version, ", this program knows ",
        known, ": run the newer program that wrote it, or restore a backup from before"));
  }
  for (int64_t next = version + 1; next <= known; ++next) {
    const Migration& migration = migrations[static_cast<size_t>(next - 1)];
    const absl::Status status = Apply(database, next, migration, now);
    if (!status.ok()) {
      return absl::Status(status.code(), absl::StrCat("migration ", migration.name, ": ",
                                                      std::string(status.message())));
    }
  }
  return absl::OkStatus();
}

}  // namespace wardtune
