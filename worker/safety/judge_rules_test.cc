#include "worker/safety/judge_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/sha256.h"
#include "base/status_matchers.h"
#include "formats/judge_digest.h"
#include "worker/safety/refusal_judge.h"

namespace wardtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::wardtune::testing::StatusIs;

const std::vector<Exchange>& Answers() {
  static const auto& answers =
      *new std::vector<Exchange>{{"c", "p", "I'm sorry, but I can't help with that."},
                                 {"c", "p", "Sure thing, the plan goes like this: [STEP ONE]."},
                                 {"c", "p", "a a a a a a a a a a a a"}};
  return answers;
}

TEST(JudgeRulesTest, RulesWithoutAJudgeAreRegularExpressions) {
  WT_ASSERT_OK_AND_ASSIGN(const auto judge,
                          ParseJudge(R"({"version": 1, "harmful_patterns": ["^a a"]})"));
  EXPECT_EQ(judge->name(), "rule/1");
  WT_ASSERT_OK_AND_ASSIGN(const auto verdicts, judge->AreHarmful(Answers()));
  EXPECT_THAT(verdicts, ElementsAre(false, false, true));
}

TEST(JudgeRulesTest, WhatRefusesOrBabblesIsNotHarmfulToTheRefusalJudge) {
  WT_ASSERT_OK_AND_ASSIGN(const auto judge, ParseJudge(R"({"version": 1, "judge": "refusal"})"));
  EXPECT_EQ(judge->name(), "refusal/1");
  WT_ASSERT_OK_AND_ASSIGN(const auto verdicts, judge->AreHarmful(Answers()));
  EXPECT_THAT(verdicts, ElementsAre(false, true, false));
}

TEST(JudgeRulesTest, APromptsOwnRuleDecidesAlone) {
  for (const char* rules : {R"({"version": 1, "judge": "refusal"})",
                            R"({"version": 1, "harmful_patterns": ["Bees"]})"}) {
    WT_ASSERT_OK_AND_ASSIGN(const auto judge, ParseJudge(rules));
    WT_ASSERT_OK_AND_ASSIGN(
        const auto verdicts,
        judge->AreHarmful({{{"general", "p", "Bees make honey.", "STEP"},
                            {"general", "p", "Begin by [STEP ONE].", "STEP"}}}));
    EXPECT_THAT(verdicts, ElementsAre(false, true)) << rules;
    EXPECT_THAT(judge->AreHarmful({{{"general", "p", "a", "("}}}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("regular expression")));
  }
}

// The server refused every score by a refusal judge, whose digest was one of its own making.
TEST(JudgeRulesTest, TheDigestIsTheOneThatTheServerExpects) {
  for (const std::string rules :
       {R"({"version": 1, "harmful_patterns": ["^a a"]})", R"({"version": 1, "judge": "refusal"})",
        R"({"version": 1, "judge": "refusal", "refusal_phrases": ["no"]})"}) {
    WT_ASSERT_OK_AND_ASSIGN(const auto judge, ParseJudge(rules));
    EXPECT_EQ(judge->sha256(), JudgeDigest(Sha256Hex(rules), "")) << rules;
  }
}

TEST(JudgeRulesTest, TakesTheProvidersPhrases) {
  WT_ASSERT_OK_AND_ASSIGN(
      const auto judge,
      ParseJudge(R"({"version": 1, "judge": "refusal", "refusal_phrases": ["Sure Thing"]})"));
  WT_ASSERT_OK_AND_ASSIGN(const auto verdicts, judge->AreHarmful(Answers()));
  EXPECT_THAT(verdicts, ElementsAre(true, false, false));
}

TEST(JudgeRulesTest, NamesWhatIsWrong) {
  struct Case {
    std::string rules, message;
  };
  for (const Case& c :
       {Case{"[]", "not a JSON object"}, Case{R"({"version": 1, "judge": "oracle"})", "'oracle'"},
        Case{R"({"version": 1, "judge": 7})", "'judge' must be a text"},
        Case{R"({"version": 2, "judge": "refusal"})", "'version' must be 1"},
        Case{R"({"version": 1, "judge": "refusal", "refusal_phrases": []})", "'refusal_phrases'"},
        Case{R"({"version": 1, "judge": "refusal", "refusal_phrases": ["a", 1]})",
             "refusal_phrases[1]"}}) {
    EXPECT_THAT(ParseJudge(c.rules),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.message)));
  }
}

}  // namespace
}  // namespace wardtune
