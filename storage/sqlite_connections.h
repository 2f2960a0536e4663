// The connections to one database file: one writer, whose commits are grouped, and several readers.
//
// Group commit: the first caller of Write() becomes the leader and runs what the others have queued
// meanwhile in the same transaction, each in a savepoint of its own, so that one fsync serves all.
// A piece that fails is undone alone. Nobody returns before the commit is on the disk.
// Thread safety: all methods may be called from any thread; Write and Read block.
#ifndef WARDTUNE_STORAGE_SQLITE_CONNECTIONS_H_
#define WARDTUNE_STORAGE_SQLITE_CONNECTIONS_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "storage/sqlite_database.h"

namespace wardtune {

class SqliteConnections {
 public:
  using Work = absl::FunctionRef<absl::Status(Database&)>;

  // `writer` has been migrated. Opens `readers` more connections to the same file.
  static absl::StatusOr<std::unique_ptr<SqliteConnections>> Create(std::unique_ptr<Database> writer,
                                                                   int readers);

  // Runs `work` in a write transaction, perhaps on another caller's thread. OK: its writes are on
  // the disk. Else none of them is stored; the error is the work's own or the commit's.
  absl::Status Write(Work work);
  // Runs `work` in a read transaction: all its statements see the same state.
  absl::Status Read(Work work);

  // Transactions committed by Write() so far, to measure the grouping.
  int64_t commits() const;

 private:
  struct Pending {
    explicit Pending(Work w) : work(w) {}
    Work work;
    absl::Status status;
    bool done = false;
  };

  explicit SqliteConnections(std::unique_ptr<Database> writer) : writer_(std::move(writer)) {}
  absl::Status RunBatch(const std::vector<Pending*>& batch);
  absl::Status RunBatchInTransaction(const std::vector<Pending*>& batch);

  mutable absl::Mutex write_mutex_;
  std::deque<Pending*> queue_ ABSL_GUARDED_BY(write_mutex_);
  bool has_leader_ ABSL_GUARDED_BY(write_mutex_) = false;
  int64_t commits_ ABSL_GUARDED_BY(write_mutex_) = 0;
  // Touched by the leader alone.
  std::unique_ptr<Database> writer_;

  absl::Mutex read_mutex_;
  std::vector<std::unique_ptr<Database>> idle_readers_ ABSL_GUARDED_BY(read_mutex_);
};

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_SQLITE_CONNECTIONS_H_
