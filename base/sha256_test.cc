#include "base/sha256.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/status_matchers.h"

namespace wardtune {
namespace {

// FIPS 180-4, appendix B.1.
constexpr char kAbcDigest[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

TEST(Sha256Test, AnswersTheStandardsExample) { EXPECT_EQ(Sha256Hex("abc"), kAbcDigest); }

TEST(Sha256Test, DoesNotDependOnHowTheBytesAreCut) {
  Sha256 hash;
  hash.Update("a");
  hash.HexDigest();
  hash.Update("bc");
  EXPECT_EQ(hash.HexDigest(), kAbcDigest);
}

TEST(Sha256Test, ReadsAFile) {
  const std::string path = ::testing::TempDir() + "/sha256_test_abc";
  std::ofstream(path) << "abc";
  WT_ASSERT_OK_AND_ASSIGN(const std::string digest, Sha256OfFile(path));
  EXPECT_EQ(digest, kAbcDigest);
}

TEST(Sha256Test, NamesAMissingFile) {
  EXPECT_THAT(
      Sha256OfFile("/no/such/file"),
      testing::StatusIs(absl::StatusCode::kNotFound, ::testing::HasSubstr("/no/such/file")));
}

}  // namespace
}  // namespace wardtune
