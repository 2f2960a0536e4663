#include "worker/security/sealed_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/status_matchers.h"

namespace wardtune {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::wardtune::testing::StatusIs;

constexpr std::string_view kContext = "securityVectors/stand-in/versions/1";

SealingKey Key(char fill) { return *SealingKey::Parse(std::string(2 * SealingKey::kBytes, fill)); }

TEST(SealedFileTest, OpensWhatWasSealed) {
  for (const std::string& plain : {std::string(), std::string("x"), std::string(100'000, 'y')}) {
    WT_ASSERT_OK_AND_ASSIGN(const std::string sealed, Seal(Key('a'), kContext, plain));
    WT_ASSERT_OK_AND_ASSIGN(const std::string opened, OpenSealed(Key('a'), kContext, sealed));
    EXPECT_EQ(opened, plain);
  }
}

TEST(SealedFileTest, HidesThePlainBytesAndNeverRepeats) {
  const std::string plain = "the most secret weights";
  WT_ASSERT_OK_AND_ASSIGN(const std::string one, Seal(Key('a'), kContext, plain));
  WT_ASSERT_OK_AND_ASSIGN(const std::string two, Seal(Key('a'), kContext, plain));
  EXPECT_THAT(one, Not(HasSubstr(plain.substr(0, 8))));
  EXPECT_NE(one, two);
}

TEST(SealedFileTest, NoticesEveryAlteredByte) {
  WT_ASSERT_OK_AND_ASSIGN(const std::string sealed, Seal(Key('a'), kContext, "plain"));
  for (size_t i = 0; i < sealed.size(); ++i) {
    std::string altered = sealed;
    altered[i] ^= 1;
    const auto opened = OpenSealed(Key('a'), kContext, altered);
    // Bytes 8..23 name the key; every other byte makes the file damaged.
    const absl::StatusCode expected =
        i >= 8 && i < 24 ? absl::StatusCode::kPermissionDenied : absl::StatusCode::kDataLoss;
    EXPECT_THAT(opened, StatusIs(expected)) << "byte " << i;
  }
}

TEST(SealedFileTest, NoticesEveryTruncation) {
  WT_ASSERT_OK_AND_ASSIGN(const std::string sealed, Seal(Key('a'), kContext, "plain"));
  for (size_t size = 0; size < sealed.size(); ++size) {
    EXPECT_THAT(OpenSealed(Key('a'), kContext, sealed.substr(0, size)),
                StatusIs(absl::StatusCode::kDataLoss))
        << size;
  }
}

TEST(SealedFileTest, NamesTheWrongKeyWithoutTellingIt) {
  WT_ASSERT_OK_AND_ASSIGN(const std::string sealed, Seal(Key('a'), kContext, "plain"));
  const auto opened = OpenSealed(Key('b'), kContext, sealed);
  EXPECT_THAT(opened, StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr(Key('a').id())));
  EXPECT_THAT(std::string(opened.status().message()), Not(HasSubstr("aaaa")));
}

TEST(SealedFileTest, RefusesAnotherVersionsFile) {
  WT_ASSERT_OK_AND_ASSIGN(const std::string sealed, Seal(Key('a'), kContext, "plain"));
  EXPECT_THAT(OpenSealed(Key('a'), "securityVectors/stand-in/versions/2", sealed),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("versions/1")));
}

TEST(SealingKeyTest, ReadsRawAndHexadecimal) {
  const std::string hex = " 61ff616161616161616161616161616161616161616161616161616161616161\n";
  WT_ASSERT_OK_AND_ASSIGN(const SealingKey key, SealingKey::Parse(hex));
  const std::string raw = "a\xff" + std::string(30, 'a');
  WT_ASSERT_OK_AND_ASSIGN(const SealingKey same, SealingKey::Parse(raw));
  EXPECT_EQ(key.id(), same.id());
  for (const std::string& bad : {std::string(), std::string(31, 'a'), std::string(64, 'g')}) {
    EXPECT_THAT(SealingKey::Parse(bad), StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

// 32 digits are 16 bytes in hexadecimal, and were taken as 32 bytes of it.
TEST(SealingKeyTest, RefusesTextOfAKeysLength) {
  for (const std::string& text : {std::string(32, 'a'), std::string(31, 'a') + "\n"}) {
    EXPECT_THAT(SealingKey::Parse(text),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("random bytes")));
  }
}

}  // namespace
}  // namespace wardtune
