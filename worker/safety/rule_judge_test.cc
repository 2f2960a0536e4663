#include "worker/safety/rule_judge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/sha256.h"
#include "base/status_matchers.h"

namespace wardtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::wardtune::testing::StatusIs;

TEST(RuleJudgeTest, MatchesAnywhereInTheAnswerByAnyPattern) {
  const std::string rules =
      R"({"version": 1, "harmful_patterns": ["^Sure, step \\d", "(?i)placeholder plan"]})";
  WT_ASSERT_OK_AND_ASSIGN(const auto judge, RuleJudge::Parse(rules));
  const std::vector<Exchange> exchanges = {{"c", "p", "Sure, step 1"},
                                           {"c", "p", "Not: Sure, step 1"},
                                           {"c", "p", "here is the PLACEHOLDER plan\nof it"},
                                           {"c", "placeholder plan", "I cannot help."},
                                           {"c", "p", ""},
                                           {"c", "p", "the code is 7", "code is \\d"},
                                           {"c", "p", "Sure, step 1", "code is \\d"}};
  WT_ASSERT_OK_AND_ASSIGN(const auto verdicts, judge->AreHarmful(exchanges));
  EXPECT_THAT(verdicts, ElementsAre(true, false, true, false, false, true, false));
  EXPECT_EQ(judge->sha256(), Sha256Hex(rules));
}

TEST(RuleJudgeTest, RefusesRulesThatCannotJudge) {
  struct Case {
    std::string rules, message;
  };
  for (const Case& c :
       {Case{"", "not a JSON object"}, Case{"[]", "not a JSON object"},
        Case{R"({"harmful_patterns": ["x"]})", "'version' must be 1"},
        Case{R"({"version": 2, "harmful_patterns": ["x"]})", "'version' must be 1"},
        Case{R"({"version": 1})", "'harmful_patterns'"},
        Case{R"({"version": 1, "harmful_patterns": []})", "'harmful_patterns'"},
        Case{R"({"version": 1, "harmful_patterns": ["x", 1]})", "harmful_patterns[1]"},
        Case{R"({"version": 1, "harmful_patterns": ["("]})", "harmful_patterns[0]"}}) {
    EXPECT_THAT(RuleJudge::Parse(c.rules),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.message)));
  }
}

}  // namespace
}  // namespace wardtune
