// One SQLite connection: statements, parameters, columns and transactions with owners.
//
// Only storage/ includes sqlite3.h, and there only sqlite_database.cc.
// Thread safety: a Database and its Statements belong to one thread at a time.
#ifndef WARDTUNE_STORAGE_SQLITE_DATABASE_H_
#define WARDTUNE_STORAGE_SQLITE_DATABASE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/status_macros.h"

struct sqlite3;
struct sqlite3_stmt;

namespace wardtune {

// Marks a parameter as BLOB instead of TEXT.
struct Bytes {
  std::string_view view;
};

// A prepared statement on loan from its Database; reset when it goes out of scope.
// REQUIRES: at most one Statement of the same SQL constant is alive at a time.
class Statement {
 public:
  Statement(sqlite3_stmt* statement, const std::string* path)
      : statement_(statement), path_(path) {}
  Statement(Statement&& other) noexcept;
  Statement& operator=(Statement&&) = delete;
  ~Statement();

  // Parameter `index`, from 1. InfinitePast is stored as NULL.
  void Bind(int index, int64_t value);
  void Bind(int index, std::string_view text);
  void Bind(int index, Bytes bytes);
  void Bind(int index, absl::Time time);
  template <typename Enum, typename = std::enable_if_t<std::is_enum_v<Enum>>>
  void Bind(int index, Enum value) {
    Bind(index, static_cast<int64_t>(value));
  }

  // Goes to the next row; false when there is none.
  absl::StatusOr<bool> Step();

  // The row's next column, from the left. NULL is 0, "" or InfinitePast.
  int64_t Int();
  std::string Text();
  absl::Time Time();
  template <typename Enum>
  Enum As() {
    return static_cast<Enum>(Int());
  }

 private:
  sqlite3_stmt* statement_;
  const std::string* path_;
  int column_ = 0;
};

class Database {
 public:
  // Opens or creates the file. Errors of this and all methods: DATA_LOSS when the file is damaged,
  // naming it and the remedy; RESOURCE_EXHAUSTED when the disk is full; UNAVAILABLE when it is
  // locked or an I/O error happened; ALREADY_EXISTS for a broken UNIQUE; INTERNAL for other broken
  // constraints and for faulty SQL.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::string& path);

  // Statements without parameters or rows, separated by semicolons.
  absl::Status Execute(const std::string& sql);

  // The statement with its parameters bound. `sql` must be a constant: its address is the key under
  // which the prepared statement is kept.
  template <typename... Args>
  absl::StatusOr<Statement> Query(const char* sql, const Args&... args) {
    WT_ASSIGN_OR_RETURN(Statement statement, Prepare(sql));
    int index = 0;
    (statement.Bind(++index, args), ...);
    return statement;
  }

  // Runs a statement that returns no row; the number of rows that it changed.
  template <typename... Args>
  absl::StatusOr<int64_t> Run(const char* sql, const Args&... args) {
    WT_ASSIGN_OR_RETURN(Statement statement, Query(sql, args...));
    WT_RETURN_IF_ERROR(statement.Step().status());
    return Changes();
  }

  // False after an error that made SQLite roll the whole transaction back.
  bool InTransaction() const;
  const std::string& path() const { return path_; }

 private:
  struct CloseDatabase {
    void operator()(sqlite3* database) const;
  };
  struct FinalizeStatement {
    void operator()(sqlite3_stmt* statement) const;
  };

  Database(std::unique_ptr<sqlite3, CloseDatabase> database, std::string path)
      : path_(std::move(path)), database_(std::move(database)) {}
  absl::StatusOr<Statement> Prepare(const char* sql);
  int64_t Changes() const;

  const std::string path_;
  std::unique_ptr<sqlite3, CloseDatabase> database_;
  // Finalised before the connection closes, so declared after it.
  std::map<const char*, std::unique_ptr<sqlite3_stmt, FinalizeStatement>> statements_;
};

// A transaction that is rolled back unless committed.
class Transaction {
 public:
  enum class Kind { kRead, kWrite };

  static absl::StatusOr<Transaction> Begin(Database& database, Kind kind);
  Transaction(Transaction&& other) noexcept;
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();

  // When it returns OK the writes are on the disk.
  absl::Status Commit();

 private:
  explicit Transaction(Database& database) : database_(&database) {}
  Database* database_;
};

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_SQLITE_DATABASE_H_
