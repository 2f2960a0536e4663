#include "formats/tar_archive.h"

#include <gtest/gtest.h>

#include "base/status_matchers.h"

namespace wardtune {
namespace {

using ::testing::HasSubstr;
using ::wardtune::testing::StatusIs;

FileSet Files() {
  return {{"README.md", "card\n"}, {"empty", ""}, {"w.safetensors", std::string(1025, '\1')}};
}

// Recomputes the checksum of the first header, so that a test reaches the rule behind it.
void FixChecksum(std::string& archive) {
  archive.replace(148, 8, "        ");
  unsigned sum = 0;
  for (size_t i = 0; i < 512; ++i) sum += static_cast<unsigned char>(archive[i]);
  for (int digit = 5; digit >= 0; --digit, sum >>= 3) {
    archive[148 + static_cast<size_t>(digit)] = static_cast<char>('0' + (sum & 7));
  }
  archive[154] = '\0';
}

TEST(TarArchiveTest, ReadsBackWhatItWrote) {
  WT_ASSERT_OK_AND_ASSIGN(const std::string archive, WriteTar(Files()));
  EXPECT_EQ(archive.size() % 512, 0u);
  EXPECT_EQ(ReadTar(archive).value(), Files());
  EXPECT_EQ(archive.substr(257, 8), std::string("ustar\00000", 8));
  EXPECT_EQ(archive.substr(136, 12), std::string("00000000000\0", 12));  // time
}

TEST(TarArchiveTest, RefusesNamesThatLeaveTheFolder) {
  for (const std::string& name : {std::string("../x"), std::string("a/b"), std::string(),
                                  std::string(".hidden"), std::string(101, 'a')}) {
    EXPECT_THAT(WriteTar({{name, "x"}}), StatusIs(absl::StatusCode::kInvalidArgument)) << name;
  }
  std::string archive = WriteTar({{"aaaa", "x"}}).value();
  archive.replace(0, 4, "../x");
  FixChecksum(archive);
  EXPECT_THAT(ReadTar(archive),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not allowed")));
}

TEST(TarArchiveTest, RefusesLinksBadChecksumsAndFalseSizes) {
  const std::string good = WriteTar({{"aaaa", "x"}}).value();
  std::string link = good;
  link[156] = '2';
  EXPECT_THAT(ReadTar(link), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("checksum")));
  FixChecksum(link);
  EXPECT_THAT(ReadTar(link), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("regular")));
  std::string large = good;
  large.replace(124, 11, "77777777777");
  FixChecksum(large);
  EXPECT_THAT(ReadTar(large), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("size")));
}

TEST(TarArchiveTest, RefusesEveryTruncation) {
  const std::string archive = WriteTar(Files()).value();
  for (size_t size = 0; size < archive.size(); ++size) {
    EXPECT_THAT(ReadTar(std::string_view(archive).substr(0, size)),
                StatusIs(absl::StatusCode::kInvalidArgument))
        << size;
  }
}

}  // namespace
}  // namespace wardtune
