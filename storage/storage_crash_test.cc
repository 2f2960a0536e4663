// A real kill -9: a child process writes and is killed; what it acknowledged must be there.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "storage/folder_blob_store.h"
#include "storage/store_fixture.h"

namespace wardtune {
namespace {

constexpr size_t kIdLength = 20;

class StorageCrashTest : public testing::StoreFixture {
 protected:
  // Runs `child` in a process of its own until it has acknowledged `count` ids, then kills it.
  // Returns all ids that came through. The child must not return.
  template <typename Child>
  std::vector<std::string> RunAndKill(size_t count, Child child) {
    int pipe_ends[2];
    if (::pipe(pipe_ends) != 0) return {};
    const pid_t pid = ::fork();
    if (pid == 0) {
      child([&](const std::string& id) {
        if (::write(pipe_ends[1], id.data(), id.size()) != std::ssize(id)) ::_exit(1);
      });
      ::_exit(1);
    }
    ::close(pipe_ends[1]);
    std::string received;
    char buffer[kIdLength];
    auto receive = [&] {
      const ssize_t got = ::read(pipe_ends[0], buffer, sizeof(buffer));
      if (got > 0) received.append(buffer, static_cast<size_t>(got));
      return got > 0;
    };
    while (received.size() < count * kIdLength && receive()) {
    }
    ::kill(pid, SIGKILL);
    int status = 0;
    ::waitpid(pid, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    while (receive()) {
    }
    ::close(pipe_ends[0]);
    std::vector<std::string> ids;
    for (size_t at = 0; at + kIdLength <= received.size(); at += kIdLength) {
      ids.push_back(received.substr(at, kIdLength));
    }
    return ids;
  }
};

TEST_F(StorageCrashTest, EveryAcknowledgedJobIsThereAfterKillNine) {
  AddTenant("acme", 1000000);
  ActivateVector();
  const std::string dataset = AddReadyDataset("acme");
  size_t acknowledged = 0;
  for (const size_t count : {1, 7, 30}) {
    // The child opens the store itself: connections do not survive a fork.
    store_.reset();
    const std::vector<std::string> ids = RunAndKill(count, [&](auto acknowledge) {
      auto store = SqliteStore::Open(options_, clock_, files_);
      if (!store.ok()) ::_exit(1);
      while (true) {
        auto answer =
            (*store)->jobs().CreateJob({"acme", "", dataset, kModel, "", ""}, {}, IdOf<JobRecord>);
        if (!answer.ok()) ::_exit(1);
        acknowledge(answer->response);
      }
    });
    ASSERT_GE(ids.size(), count);
    Open();
    for (const std::string& id : ids) WT_EXPECT_OK(store_->jobs().GetJob("acme", id));
    acknowledged += ids.size();
  }
  // None twice, and of those in flight at most one a kill.
  const int64_t queued = store_->work().GetQueueStats().value().jobs.at(JobState::kQueued);
  EXPECT_GE(queued, static_cast<int64_t>(acknowledged));
  EXPECT_LE(queued, static_cast<int64_t>(acknowledged) + 3);
}

TEST_F(StorageCrashTest, EveryAcknowledgedByteIsThereAfterKillNine) {
  const std::string blobs = folder_ + "/blobs";
  const std::string piece(kIdLength, 'x');
  const std::vector<std::string> pieces = RunAndKill(5, [&](auto acknowledge) {
    auto store = FolderBlobStore::Open(blobs, files_, clock_);
    if (!store.ok()) ::_exit(1);
    auto partial = (*store)->OpenPartial("d1", 0);
    if (!partial.ok()) ::_exit(1);
    while ((*partial)->Append(piece).ok() && (*partial)->Sync().ok()) acknowledge(piece);
  });
  ASSERT_GE(pieces.size(), 5u);
  auto store = FolderBlobStore::Open(blobs, files_, clock_).value();
  const int64_t acknowledged = std::ssize(pieces) * static_cast<int64_t>(kIdLength);
  WT_ASSERT_OK_AND_ASSIGN(auto partial, store->OpenPartial("d1", acknowledged));
  partial.reset();
  EXPECT_EQ(store->CommitPartial("d1", "").value().sha256,
            Sha256Hex(std::string(static_cast<size_t>(acknowledged), 'x')));
}

}  // namespace
}  // namespace wardtune
