#include "formats/sealed_header.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/status_matchers.h"

namespace wardtune {
namespace {

using ::wardtune::testing::StatusIs;

SealedHeader Header(const std::string& context) {
  return {std::string(kSealedKeyIdBytes, '\xab'), std::string(kSealedNonceBytes, 'n'), context};
}

TEST(SealedHeaderTest, ReadsWhatItWrote) {
  for (const std::string& context :
       {std::string(), std::string("x"), std::string(kMaxSealedContextBytes, 'c')}) {
    const std::string bytes = Header(context).Serialize();
    EXPECT_EQ(bytes.size(), Header(context).size_bytes());
    EXPECT_LE(bytes.size(), kMaxSealedHeaderBytes);
    WT_ASSERT_OK_AND_ASSIGN(const SealedHeader read, ParseSealedHeader(bytes + "ciphertext"));
    EXPECT_EQ(read.key_id, Header(context).key_id);
    EXPECT_EQ(read.nonce, Header(context).nonce);
    EXPECT_EQ(read.context, context);
    EXPECT_EQ(read.KeyIdHex(), "abababababababababababababababab");
  }
}

TEST(SealedHeaderTest, RefusesWhatBeginsNoSealedFile) {
  const std::string bytes = Header("context").Serialize();
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THAT(ParseSealedHeader(bytes.substr(0, size)), StatusIs(absl::StatusCode::kDataLoss))
        << size;
  }
  std::string other = bytes;
  other[0] = 'X';
  EXPECT_THAT(ParseSealedHeader(other), StatusIs(absl::StatusCode::kDataLoss));
  const std::string long_context = Header(std::string(kMaxSealedContextBytes + 1, 'c')).Serialize();
  EXPECT_THAT(ParseSealedHeader(long_context), StatusIs(absl::StatusCode::kDataLoss));
}

}  // namespace
}  // namespace wardtune
