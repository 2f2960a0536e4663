// Brings a database file to this program's schema, one transaction a migration.
//
// Migrations are the files in storage/migrations/, embedded by CMake. Number n takes the schema
// from version n - 1 to n; PRAGMA user_version keeps the version. A merged file is never edited.
// Thread safety: as Database.
#ifndef WARDTUNE_STORAGE_SQLITE_MIGRATIONS_H_
#define WARDTUNE_STORAGE_SQLITE_MIGRATIONS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "storage/sqlite_database.h"

namespace wardtune {

struct Migration {
  std::string name;
  std::string sql;
};

// All of storage/migrations/, in order.
std::vector<Migration> EmbeddedMigrations();

// Runs the migrations that the file lacks and notes each in the table schema_version. On an error
// the file is at the version of the last one that succeeded.
// Errors: FAILED_PRECONDITION naming the file and the remedy when its schema is newer than the last
// migration.
absl::Status Migrate(Database& database, const std::vector<Migration>& migrations, absl::Time now);

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_SQLITE_MIGRATIONS_H_
