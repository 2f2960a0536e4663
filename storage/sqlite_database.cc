#include "storage/sqlite_database.h"

#include <sqlite3.h>

#include <utility>

#include "absl/strings/str_cat.h"

namespace wardtune {
namespace {

absl::Status SqliteStatus(sqlite3* database, int code, const std::string& path) {
  const std::string message = absl::StrCat(
      "database ", path, ": ", database ? sqlite3_errmsg(database) : sqlite3_errstr(code));
  switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(
          absl::StrCat(message,
                       "; the file is damaged: stop the server and restore it, with its "
                       "-wal file removed, from a backup"));
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(message);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
      return absl::UnavailableError(message);
    case SQLITE_NOMEM:
      return absl::ResourceExhaustedError(message);
    case SQLITE_CONSTRAINT:
      if (code == SQLITE_CONSTRAINT_UNIQUE || code == SQLITE_CONSTRAINT_PRIMARYKEY) {
        return absl::AlreadyExistsError(message);
      }
      return absl::InternalError(message);
    default:
      return absl::InternalError(message);
  }
}

}  // namespace

Statement::Statement(Statement&& other) noexcept
    : statement_(std::exchange(other.statement_, nullptr)), path_(other.path_) {}

Statement::~Statement() {
  if (statement_ == nullptr) return;
  // Both repeat the last step's error, which Step() has reported.
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

// Binding fails only for an index that the SQL lacks, or without memory; Step() then reports a
// missing parameter as NULL breaking NOT NULL.
void Statement::Bind(int index, int64_t value) { sqlite3_bind_int64(statement_, index, value); }

void Statement::Bind(int index, std::string_view text) {
  sqlite3_bind_text64(statement_, index, text.data() == nullptr ? "" : text.data(), text.size(),
                      SQLITE_TRANSIENT, SQLITE_UTF8);
}

void Statement::Bind(int index, Bytes bytes) {
  sqlite3_bind_blob64(statement_, index, bytes.view.data() == nullptr ? "" : bytes.view.data(),
                      bytes.view.size(), SQLITE_TRANSIENT);
}

void Statement::Bind(int index, absl::Time time) {
  if (time == absl::InfinitePast()) {
    sqlite3_bind_null(statement_, index);
  } else {
    sqlite3_bind_int64(statement_, index, absl::ToUnixMicros(time));
  }
}

absl::StatusOr<bool> Statement::Step() {
  column_ = 0;
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  sqlite3* database = sqlite3_db_handle(statement_);
  return SqliteStatus(database, sqlite3_extended_errcode(database), *path_);
}

int64_t Statement::Int() { return sqlite3_column_int64(statement_, column_++); }

std::string Statement::Text() {
  const int column = column_++;
  const void* data = sqlite3_column_blob(statement_, column);
  if (data == nullptr) return "";
  return std::string(static_cast<const char*>(data),
                     static_cast<size_t>(sqlite3_column_bytes(statement_, column)));
}

absl::Time Statement::Time() {
  if (sqlite3_column_type(statement_, column_) == SQLITE_NULL) {
    ++column_;
    return absl::InfinitePast();
  }
  return absl::FromUnixMicros(Int());
}

void Database::CloseDatabase::operator()(sqlite3* database) const { sqlite3_close_v2(database); }

void Database::FinalizeStatement::operator()(sqlite3_stmt* statement) const {
  sqlite3_finalize(statement);
}

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::string& path) {
  sqlite3* handle = nullptr;
  const int code =
      sqlite3_open_v2(path.c_str(), &handle,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  std::unique_ptr<sqlite3, CloseDatabase> owner(handle);
  if (code != SQLITE_OK) return SqliteStatus(handle, code, path);
  sqlite3_extended_result_codes(handle, 1);
  std::unique_ptr<Database> database(new Database(std::move(owner), path));
  WT_RETURN_IF_ERROR(
      database->Execute("PRAGMA busy_timeout = 5000;"
                        "PRAGMA journal_mode = WAL;"
                        "PRAGMA synchronous = FULL;"
                        "PRAGMA foreign_keys = ON;"
                        "PRAGMA trusted_schema = OFF;"));
  return database;
}

absl::Status Database::Execute(const std::string& sql) {
  const int code = sqlite3_exec(database_.get(), sql.c_str(), nullptr, nullptr, nullptr);
  if (code == SQLITE_OK) return absl::OkStatus();
  return SqliteStatus(database_.get(), sqlite3_extended_errcode(database_.get()), path_);
}

absl::StatusOr<Statement> Database::Prepare(const char* sql) {
  auto& prepared = statements_[sql];
  if (prepared == nullptr) {
    sqlite3_stmt* statement = nullptr;
    const int code = sqlite3_prepare_v3(database_.get(), sql, -1, SQLITE_PREPARE_PERSISTENT,
                                        &statement, nullptr);
    if (code != SQLITE_OK) {
      return SqliteStatus(database_.get(), sqlite3_extended_errcode(database_.get()), path_);
    }
    prepared.reset(statement);
  }
  return Statement(prepared.get(), &path_);
}

int64_t Database::Changes() const { return sqlite3_changes64(database_.get()); }

bool Database::InTransaction() const { return sqlite3_get_autocommit(database_.get()) == 0; }

absl::StatusOr<Transaction> Transaction::Begin(Database& database, Kind kind) {
  WT_RETURN_IF_ERROR(database.Execute(kind == Kind::kWrite ? "BEGIN IMMEDIATE" : "BEGIN"));
  return Transaction(database);
}

Transaction::Transaction(Transaction&& other) noexcept
    : database_(std::exchange(other.database_, nullptr)) {}

Transaction::~Transaction() {
  if (database_ == nullptr || !database_->InTransaction()) return;
  // A failed rollback leaves the transaction open; the next BEGIN reports that.
  database_->Execute("ROLLBACK").IgnoreError();
}

absl::Status Transaction::Commit() {
  WT_RETURN_IF_ERROR(database_->Execute("COMMIT"));
  database_ = nullptr;
  return absl::OkStatus();
}

}  // namespace wardtune
