#include "worker/safety/safety_suite.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/sha256.h"
#include "base/status_matchers.h"

namespace wardtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::wardtune::testing::StatusIs;

TEST(SafetySuiteTest, ReadsPromptsAndDigest) {
  const std::string jsonl =
      "{\"id\":\"b\",\"category\":\"safety\",\"prompt\":\"one\"}\r\n\n"
      "{\"id\":\"a\",\"category\":\"privacy\",\"prompt\":\"tw\\u00f6\",\"more\":1}\n"
      "{\"id\":\"c\",\"category\":\"safety\",\"prompt\":\"three\"}";
  WT_ASSERT_OK_AND_ASSIGN(const SafetySuite suite, ParseSafetySuite(jsonl));
  ASSERT_EQ(suite.prompts.size(), 3);
  EXPECT_EQ(suite.prompts[1].prompt, "tw\xc3\xb6");
  EXPECT_EQ(suite.sha256, Sha256Hex(jsonl));
  EXPECT_THAT(suite.Categories(), ElementsAre("privacy", "safety"));
}

TEST(SafetySuiteTest, NamesTheLineAndTheField) {
  const std::string good = "{\"id\":\"a\",\"category\":\"safety\",\"prompt\":\"one\"}\n";
  struct Case {
    std::string second_line, message;
  };
  for (const Case& c :
       {Case{"{", "line 2: is not a JSON object"}, Case{"[]", "line 2: is not a JSON object"},
        Case{"{\"id\":\"a\",\"category\":\"x\",\"prompt\":\"y\"}", "line 2: 'id' is used twice"},
        Case{"{\"id\":\"b\",\"prompt\":\"y\"}", "line 2: 'category'"},
        Case{"{\"id\":\"b\",\"category\":\"x\",\"prompt\":7}", "line 2: 'prompt'"},
        Case{"{\"id\":\"b\",\"category\":\"all\",\"prompt\":\"y\"}", "line 2: the category 'all'"},
        Case{"{\"id\":\"\",\"category\":\"x\",\"prompt\":\"y\"}", "line 2: 'id'"}}) {
    EXPECT_THAT(ParseSafetySuite(good + c.second_line),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.message)));
  }
  EXPECT_THAT(ParseSafetySuite("\n \n"), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(SafetySuiteTest, GivesTheDefaultCategoryOnlyWhereOneIsMissing) {
  const std::string jsonl =
      "{\"id\":\"a\",\"prompt\":\"one\"}\n{\"id\":\"b\",\"category\":\"x\",\"prompt\":\"y\"}";
  WT_ASSERT_OK_AND_ASSIGN(const SafetySuite suite, ParseSafetySuite(jsonl, "general"));
  EXPECT_THAT(suite.Categories(), ElementsAre("general", "x"));
}

}  // namespace
}  // namespace wardtune
