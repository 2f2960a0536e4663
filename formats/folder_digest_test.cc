#include "formats/folder_digest.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/sha256.h"
#include "base/status_matchers.h"

namespace wardtune {
namespace {

using ::wardtune::testing::StatusIs;

class FolderDigestTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = ::testing::TempDir() + "/folder_digest_test";
    std::filesystem::remove_all(folder_);
    WT_ASSERT_OK(files_.CreateFolders(folder_));
  }
  void Write(const std::string& name, const std::string& bytes) {
    WT_ASSERT_OK(files_.WriteFileAtomically(folder_ + "/" + name, bytes));
  }
  std::string Digest() { return ModelFolderDigest(files_, folder_).value(); }

  PosixFileSystem files_;
  std::string folder_;
};

TEST_F(FolderDigestTest, IsTheDigestOfTheSortedList) {
  Write("model.safetensors", "w");
  Write("config.json", "c");
  EXPECT_EQ(Digest(), Sha256Hex(Sha256Hex("c") + "  config.json\n" + Sha256Hex("w") +
                                "  model.safetensors\n"));
}

TEST_F(FolderDigestTest, ChangesWithContentAndNameAndNotWithTheReadme) {
  Write("config.json", "c");
  const std::string before = Digest();
  Write("README.md", "text");
  EXPECT_EQ(Digest(), before);
  Write("config.json", "d");
  EXPECT_NE(Digest(), before);
  Write("config.json", "c");
  Write("tokenizer.json", "");
  EXPECT_NE(Digest(), before);
}

TEST_F(FolderDigestTest, AFolderWithoutConfigIsNoModel) {
  EXPECT_THAT(ModelFolderDigest(files_, folder_), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(ModelFolderDigest(files_, folder_ + "/none"), StatusIs(absl::StatusCode::kNotFound));
}

}  // namespace
}  // namespace wardtune
