#include "worker/security/sealing_keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/status_matchers.h"

namespace wardtune {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::wardtune::testing::StatusIs;

constexpr std::string_view kVersion = "securityVectors/stand-in/versions/1";

SealingKey Filled(char fill) {
  return *SealingKey::Parse(std::string(2 * SealingKey::kBytes, fill));
}

TEST(SealingKeysTest, SealsWithThePrimaryAndOpensWithAny) {
  const SealingKeys keys(Filled('d'), {Filled('a'), Filled('b')});
  WT_ASSERT_OK_AND_ASSIGN(const std::string sealed, keys.Seal(kVersion, "plain"));
  WT_ASSERT_OK_AND_ASSIGN(const std::string by_primary, OpenSealed(Filled('d'), kVersion, sealed));
  EXPECT_EQ(by_primary, "plain");
  for (const char fill : {'d', 'a', 'b'}) {
    WT_ASSERT_OK_AND_ASSIGN(const std::string file, Seal(Filled(fill), kVersion, "plain"));
    WT_ASSERT_OK_AND_ASSIGN(const std::string opened, keys.Open(kVersion, file));
    EXPECT_EQ(opened, "plain");
  }
  EXPECT_THAT(keys.ids(), ElementsAre(Filled('d').id(), Filled('a').id(), Filled('b').id()));
}

TEST(SealingKeysTest, NamesTheKeyThatIsMissingAndThoseItHolds) {
  const SealingKeys keys(Filled('d'), {Filled('a')});
  WT_ASSERT_OK_AND_ASSIGN(const std::string file, Seal(Filled('e'), kVersion, "plain"));
  const auto opened = keys.Open(kVersion, file);
  EXPECT_THAT(opened, StatusIs(absl::StatusCode::kPermissionDenied,
                               AllOf(HasSubstr(Filled('e').id()), HasSubstr(Filled('d').id()),
                                     HasSubstr(Filled('a').id()))));
  EXPECT_THAT(std::string(opened.status().message()), Not(HasSubstr("dddd")));
}

TEST(SealingKeysTest, AnOldKeyOpensNothingElse) {
  const SealingKeys keys(Filled('d'), {Filled('a')});
  WT_ASSERT_OK_AND_ASSIGN(std::string file, Seal(Filled('a'), kVersion, "plain"));
  EXPECT_THAT(keys.Open("securityVectors/stand-in/versions/2", file),
              StatusIs(absl::StatusCode::kDataLoss));
  file.back() ^= 1;
  EXPECT_THAT(keys.Open(kVersion, file), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(keys.Open(kVersion, "no sealed file"), StatusIs(absl::StatusCode::kDataLoss));
}

}  // namespace
}  // namespace wardtune
