#include "formats/json_scanner.h"

#include <gtest/gtest.h>

namespace wardtune {
namespace {

TEST(JsonScannerTest, FindsNoFaultInJson) {
  for (const std::string_view line :
       {R"({"a":[1,-0.5e+3,true,false,null,"\u00e4\uD83D\uDE00\n"],"b":{}})", "[]", " 1 ",
        R"("")"}) {
    EXPECT_FALSE(FindJsonFault(line, 16)) << line;
  }
}

TEST(JsonScannerTest, FindsTheFirstInvalidByte) {
  EXPECT_EQ(FirstInvalidUtf8("a\xC3\xA4z"), std::nullopt);
  EXPECT_EQ(FirstInvalidUtf8("ab\x80"), 2u);
  EXPECT_EQ(FirstInvalidUtf8("a\xC0\xAF"), 1u);
  EXPECT_EQ(FirstInvalidUtf8("a\xF4\x90\x80\x80"), 1u);
  EXPECT_EQ(FirstInvalidUtf8("\xE2\x82"), 0u);
}

TEST(JsonScannerTest, FindsValuesAndKeysByOrdinal) {
  constexpr std::string_view kLine = R"({"a": [10, {"b":1, "b":2}], "c":3})";
  EXPECT_EQ(OffsetOf(kLine, {}, false), 0u);
  EXPECT_EQ(kLine.substr(OffsetOf(kLine, {0, 1, 1}, true)), R"("b":2}], "c":3})");
  EXPECT_EQ(kLine.substr(OffsetOf(kLine, {0, 1, 1}, false)), R"(2}], "c":3})");
  EXPECT_EQ(kLine.substr(OffsetOf(kLine, {1}, false)), "3}");
}

TEST(JsonScannerTest, ADeepLineNeedsNoDeepStack) {
  const auto fault = FindJsonFault(std::string(1'000'000, '['), 1 << 30);
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->offset, 1'000'000u);
}

}  // namespace
}  // namespace wardtune
