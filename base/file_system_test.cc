#include "base/file_system.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/status_matchers.h"

namespace wardtune {
namespace {

using ::wardtune::testing::StatusIs;

class PosixFileSystemTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = ::testing::TempDir() + "/file_system_test";
    std::filesystem::remove_all(folder_);
    WT_ASSERT_OK(files_.CreateFolders(folder_));
  }

  PosixFileSystem files_;
  std::string folder_;
};

TEST_F(PosixFileSystemTest, AnAtomicWriteReplacesAndLeavesNoTemporaryFile) {
  const std::string path = folder_ + "/a";
  WT_ASSERT_OK(files_.WriteFileAtomically(path, "old"));
  WT_ASSERT_OK(files_.WriteFileAtomically(path, "new"));
  EXPECT_EQ(files_.ReadFile(path).value(), "new");
  EXPECT_EQ(files_.List(folder_).value(), std::vector<std::string>{"a"});
}

TEST_F(PosixFileSystemTest, AnAtomicWriteIntoAMissingFolderIsNotFound) {
  EXPECT_THAT(files_.WriteFileAtomically(folder_ + "/missing/a", "x"),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(PosixFileSystemTest, OpenForAppendKeepsThePrefixItIsTold) {
  const std::string path = folder_ + "/b";
  WT_ASSERT_OK(files_.WriteFileAtomically(path, "abcdef"));
  WT_ASSERT_OK_AND_ASSIGN(auto file, files_.OpenForAppend(path, 3));
  WT_ASSERT_OK(file->Append("XY"));
  WT_ASSERT_OK(file->Sync());
  EXPECT_EQ(files_.ReadFile(path).value(), "abcXY");
}

TEST_F(PosixFileSystemTest, ReadRangeStopsAtTheEnd) {
  const std::string path = folder_ + "/c";
  WT_ASSERT_OK(files_.WriteFileAtomically(path, "abcdef"));
  EXPECT_EQ(files_.ReadRange(path, 4, 10).value(), "ef");
  EXPECT_EQ(files_.ReadRange(path, 9, 10).value(), "");
}

TEST_F(PosixFileSystemTest, NamesTheMissingPath) {
  EXPECT_THAT(files_.ReadFile(folder_ + "/none"),
              StatusIs(absl::StatusCode::kNotFound, ::testing::HasSubstr("/none")));
}

}  // namespace
}  // namespace wardtune
