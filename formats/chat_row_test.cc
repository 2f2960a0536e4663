#include "formats/chat_row.h"

#include <gtest/gtest.h>

#include "base/status_matchers.h"

namespace wardtune {
namespace {

using ::testing::HasSubstr;
using ::wardtune::testing::StatusIs;

TEST(ChatRowTest, ReadsMessagesWithWeights) {
  WT_ASSERT_OK_AND_ASSIGN(
      const ChatRow row,
      ParseChatRow(
          R"({"messages":[{"role":"system","content":"s"},{"role":"user","content":"\u00e4"},)"
          R"({"role":"assistant","content":"a","weight":0},{"role":"tool","content":"t"},)"
          R"({"role":"assistant","content":"b"}]})"));
  const std::vector<Message> expected = {{Role::kSystem, "s", false},
                                         {Role::kUser, "\xC3\xA4", false},
                                         {Role::kAssistant, "a", false},
                                         {Role::kTool, "t", false},
                                         {Role::kAssistant, "b", true}};
  EXPECT_EQ(row.messages, expected);
}

TEST(ChatRowTest, ReadsPromptAndCompletion) {
  WT_ASSERT_OK_AND_ASSIGN(const ChatRow row, ParseChatRow(R"({"completion":"c","prompt":"p"})"));
  const std::vector<Message> expected = {{Role::kUser, "p", false}, {Role::kAssistant, "c", true}};
  EXPECT_EQ(row.messages, expected);
}

TEST(ChatRowTest, ReadsBackWhatItWrites) {
  const std::string prompt = "a \"quoted\" \\ line\nand \x01 \xC3\xA4";
  const std::string line = WriteChatRow(prompt, "an answer\n", "privacy");
  EXPECT_THAT(line, HasSubstr(R"("category":"privacy")"));
  EXPECT_EQ(line.find('\n'), std::string::npos);
  WT_ASSERT_OK_AND_ASSIGN(const ChatRow row, ParseChatRow(line));
  const std::vector<Message> expected = {{Role::kUser, prompt, false},
                                         {Role::kAssistant, "an answer\n", true}};
  EXPECT_EQ(row.messages, expected);
}

TEST(ChatRowTest, NamesColumnAndCode) {
  EXPECT_THAT(ParseChatRow(R"({"prompt":1,"completion":"c"})"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       ::testing::AllOf(HasSubstr("column 11"), HasSubstr("wrong_type"))));
}

TEST(ChatRowTest, KeepsToItsLimits) {
  ChatRowLimits limits;
  limits.max_messages = 1;
  EXPECT_THAT(ParseChatRow(R"({"messages":[{"role":"user","content":"a"},{"role":"user",)"
                           R"("content":"b"}]})",
                           limits),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("too_many_messages")));
  limits.max_line_bytes = 4;
  EXPECT_THAT(ParseChatRow("{    }", limits),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("line_too_long")));
}

}  // namespace
}  // namespace wardtune
