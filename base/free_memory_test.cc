#include "base/free_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/file_system.h"
#include "base/status_matchers.h"

namespace wardtune {
namespace {

using ::wardtune::testing::StatusIs;

constexpr int64_t kMiB = int64_t{1} << 20;

// A machine with 1000 MiB free, whose folders the test writes.
class FreeMemoryTest : public ::testing::Test {
 protected:
  FreeMemoryTest() {
    const std::string root = absl::StrCat(
        ::testing::TempDir(), "/", ::testing::UnitTest::GetInstance()->current_test_info()->name());
    files_.RemoveTree(root).IgnoreError();
    folders_ = {root + "/proc", root + "/cgroup"};
    Write(folders_.proc + "/meminfo", "MemTotal: 4096000 kB\nMemAvailable: 1024000 kB\n");
  }

  void Write(const std::string& path, const std::string& text) {
    WT_ASSERT_OK(files_.CreateFolders(path.substr(0, path.rfind('/'))));
    WT_ASSERT_OK(files_.WriteFileAtomically(path, text));
  }
  void InGroups(const std::string& lines) { Write(folders_.proc + "/self/cgroup", lines); }
  // `limit` is a number of MiB or "max".
  void Version2(const std::string& group, const std::string& limit, int64_t used,
                int64_t inactive) {
    const std::string folder = folders_.control_groups + group;
    Write(folder + "/memory.max", limit == "max" ? limit : absl::StrCat(std::stoll(limit) * kMiB));
    Write(folder + "/memory.current", absl::StrCat(used * kMiB));
    Write(folder + "/memory.stat", absl::StrCat("anon 5\nactive_file 9\ninactive_file ",
                                                inactive * kMiB, "\ntotal_inactive_file 7\n"));
  }
  void Version1(const std::string& group, int64_t limit, int64_t used, int64_t inactive) {
    const std::string folder = folders_.control_groups + "/memory" + group;
    Write(folder + "/memory.limit_in_bytes", absl::StrCat(limit));
    Write(folder + "/memory.usage_in_bytes", absl::StrCat(used * kMiB));
    Write(folder + "/memory.stat",
          absl::StrCat("inactive_file 7\ntotal_inactive_file ", inactive * kMiB, "\n"));
  }
  absl::StatusOr<int64_t> FreeMiB() {
    auto free = FreeHostMemory(folders_);
    if (free.ok()) *free /= kMiB;
    return free;
  }

  PosixFileSystem files_;
  SystemFolders folders_;
};

TEST_F(FreeMemoryTest, WithoutGroupsItIsWhatTheMachineHas) { EXPECT_EQ(FreeMiB().value(), 1000); }

// A model that had just been read counted as used to its last page, and training was refused.
TEST_F(FreeMemoryTest, FilePagesThatTheKernelDropsAreFree) {
  InGroups("0::/\n");
  Version2("", "600", 550, 300);
  EXPECT_EQ(FreeMiB().value(), 350);
}

// Only the root was looked at, where a service's own limit does not stand.
TEST_F(FreeMemoryTest, TheTightestOfTheGroupAndThoseAboveItCounts) {
  InGroups("0::/system.slice/worker.service\n");
  Version2("/system.slice/worker.service", "400", 100, 0);
  Version2("/system.slice", "max", 100, 0);
  EXPECT_EQ(FreeMiB().value(), 300);
  Version2("/system.slice", "250", 100, 0);
  EXPECT_EQ(FreeMiB().value(), 150);
  Version2("/other.slice", "1", 1, 0);
  EXPECT_EQ(FreeMiB().value(), 150);
}

TEST_F(FreeMemoryTest, KnowsGroupsOfVersion1) {
  InGroups("5:cpu,cpuacct:/a\n4:hugetlb,memory:/a/b\n0::/\n");
  Version1("/a/b", 500 * kMiB, 300, 50);
  EXPECT_EQ(FreeMiB().value(), 250);
  Version1("/a/b", 9223372036854771712, 300, 50);  // none
  EXPECT_EQ(FreeMiB().value(), 1000);
}

TEST_F(FreeMemoryTest, InAContainerTheRootIsItsOwnGroup) {
  InGroups("0::/docker/of-the-host\n");
  Version2("", "200", 50, 0);
  EXPECT_EQ(FreeMiB().value(), 150);
}

TEST_F(FreeMemoryTest, AGroupOverItsLimitHasNothingLeft) {
  InGroups("0::/\n");
  Version2("", "200", 300, 0);
  EXPECT_EQ(FreeMiB().value(), 0);
}

TEST_F(FreeMemoryTest, SaysWhenTheSystemDoesNot) {
  Write(folders_.proc + "/meminfo", "MemTotal: 4096000 kB\n");
  EXPECT_THAT(FreeMiB(), StatusIs(absl::StatusCode::kUnavailable));
}

TEST(FreeHostMemoryTest, KnowsThisMachine) {
  WT_ASSERT_OK_AND_ASSIGN(const int64_t free, FreeHostMemory());
  EXPECT_GT(free, 64 * kMiB);
}

}  // namespace
}  // namespace wardtune
