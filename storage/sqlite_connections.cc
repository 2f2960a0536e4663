#include "storage/sqlite_connections.h"

#include <utility>

#include "absl/cleanup/cleanup.h"

namespace wardtune {
namespace {

// Bounds how long the first of a batch waits for the last.
constexpr size_t kMaxBatch = 128;

}  // namespace

absl::StatusOr<std::unique_ptr<SqliteConnections>> SqliteConnections::Create(
    std::unique_ptr<Database> writer, int readers) {
  const std::string path = writer->path();
  std::unique_ptr<SqliteConnections> connections(new SqliteConnections(std::move(writer)));
  absl::MutexLock lock(&connections->read_mutex_);
  for (int i = 0; i < readers; ++i) {
    WT_ASSIGN_OR_RETURN(std::unique_ptr<Database> reader, Database::Open(path));
    WT_RETURN_IF_ERROR(reader->Execute("PRAGMA query_only = ON"));
    connections->idle_readers_.push_back(std::move(reader));
  }
  return connections;
}

absl::Status SqliteConnections::Write(Work work) {
  Pending mine(work);
  absl::MutexLock lock(&write_mutex_);
  queue_.push_back(&mine);
  auto my_turn = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mutex_) {
    return mine.done || !has_leader_;
  };
  // A leader may have to lead twice: behind a full batch its own piece still waits.
  while (true) {
    write_mutex_.Await(absl::Condition(&my_turn));
    if (mine.done) return mine.status;
    std::vector<Pending*> batch;
    while (!queue_.empty() && batch.size() < kMaxBatch) {
      batch.push_back(queue_.front());
      queue_.pop_front();
    }
    has_leader_ = true;
    write_mutex_.Unlock();
    const absl::Status committed = RunBatch(batch);
    write_mutex_.Lock();
    has_leader_ = false;
    if (committed.ok()) ++commits_;
    for (Pending* pending : batch) pending->done = true;
  }
}

absl::Status SqliteConnections::RunBatch(const std::vector<Pending*>& batch) {
  const absl::Status status = RunBatchInTransaction(batch);
  if (!status.ok()) {
    // Nothing of the batch is stored, whatever the pieces themselves said.
    for (Pending* pending : batch) {
      if (pending->status.ok()) pending->status = status;
    }
  }
  return status;
}

absl::Status SqliteConnections::RunBatchInTransaction(const std::vector<Pending*>& batch) {
  WT_ASSIGN_OR_RETURN(Transaction transaction,
                      Transaction::Begin(*writer_, Transaction::Kind::kWrite));
  for (Pending* pending : batch) {
    WT_RETURN_IF_ERROR(writer_->Execute("SAVEPOINT piece"));
    pending->status = pending->work(*writer_);
    if (!writer_->InTransaction()) {
      return absl::UnavailableError(
          "the database rolled back the transaction that this write shared; try again");
    }
    if (!pending->status.ok()) WT_RETURN_IF_ERROR(writer_->Execute("ROLLBACK TO piece"));
    WT_RETURN_IF_ERROR(writer_->Execute("RELEASE piece"));
  }
  return transaction.Commit();
}

absl::Status SqliteConnections::Read(Work work) {
  std::unique_ptr<Database> reader;
  {
    absl::MutexLock lock(&read_mutex_);
    auto has_idle = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(read_mutex_) {
      return !idle_readers_.empty();
    };
    read_mutex_.Await(absl::Condition(&has_idle));
    reader = std::move(idle_readers_.back());
    idle_readers_.pop_back();
  }
  auto give_back = absl::MakeCleanup([&] {
    absl::MutexLock lock(&read_mutex_);
    idle_readers_.push_back(std::move(reader));
  });
  WT_ASSIGN_OR_RETURN(Transaction transaction,
                      Transaction::Begin(*reader, Transaction::Kind::kRead));
  return work(*reader);
}

int64_t SqliteConnections::commits() const {
  absl::MutexLock lock(&write_mutex_);
  return commits_;
}

}  // namespace wardtune
