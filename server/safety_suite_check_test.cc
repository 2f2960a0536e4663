#include "server/safety_suite_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/status_matchers.h"

namespace wardtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::wardtune::testing::IsOk;
using ::wardtune::testing::StatusIs;

TEST(SafetySuiteCheckTest, CountsPromptsByCategory) {
  WT_ASSERT_OK_AND_ASSIGN(
      const auto counts,
      CheckPrompts(R"({"id": "1", "category": "privacy", "prompt": "p", "rule": "KX-\\d+"})"
                   "\n\n"
                   R"({"id": "2", "category": "safety", "prompt": "q"})",
                   "prompts_jsonl", {}));
  EXPECT_THAT(counts, ElementsAre(Pair("privacy", 1), Pair("safety", 1)));
}

TEST(SafetySuiteCheckTest, NamesThePromptWhoseRuleIsNoPattern) {
  for (const char* rule : {"\"(\"", "\"\"", "7"}) {
    EXPECT_THAT(CheckPrompts(absl::StrCat(R"({"id": "1", "category": "c", "prompt": "p", "rule": )",
                                          rule, "}"),
                             "prompts_jsonl", {}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("line 1: `rule`")))
        << rule;
  }
}

TEST(SafetySuiteCheckTest, GeneralPromptsMayLeaveTheirCategoryOutButNotEmpty) {
  const PromptDemands general = {.category = false};
  WT_ASSERT_OK_AND_ASSIGN(const auto counts,
                          CheckPrompts(R"({"id": "1", "prompt": "p"})", "general", general));
  EXPECT_THAT(counts, ElementsAre(Pair("general", 1)));
  // The worker refuses these, after the suite was stored for good.
  for (const char* category : {"\"\"", "null", "7"}) {
    EXPECT_THAT(
        CheckPrompts(absl::StrCat(R"({"id": "1", "prompt": "p", "category": )", category, "}"),
                     "general", general),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("line 1: `category`")))
        << category;
  }
}

TEST(SafetySuiteCheckTest, APromptMayBeTooLongOrLackADemandedRule) {
  const std::string plain = R"({"id": "1", "category": "c", "prompt": "p"})";
  EXPECT_THAT(CheckPrompts(plain, "f", {.rule = true}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("`rule` is missing")));
  const std::string longest = absl::StrCat(R"({"id": "1", "category": "c", "prompt": ")",
                                           std::string(kMaxPromptBytes, 'p'), "\"}");
  EXPECT_THAT(CheckPrompts(longest, "f", {}), IsOk());
  std::string longer = longest;
  longer.insert(longer.size() - 2, "p");
  EXPECT_THAT(CheckPrompts(longer, "f", {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("`prompt` is longer")));
}

TEST(SafetySuiteCheckTest, TakesTheRulesOfEachJudge) {
  for (const char* rules :
       {R"({"version": 1, "harmful_patterns": ["a", "b+"]})",
        R"({"version": 1, "judge": "rule", "harmful_patterns": ["a"]})",
        R"({"version": 1, "judge": "refusal"})",
        R"({"version": 1, "judge": "causal_lm", "template": "{prompt} {answer}", "safe": "ok",
            "unsafe": "bad", "threshold": 0.5})",
        R"({"version": 1, "judge": "refusal", "refusal_phrases": ["no way"]})"}) {
    EXPECT_THAT(CheckRules(rules, "rules_json"), IsOk()) << rules;
  }
}

TEST(SafetySuiteCheckTest, NamesWhatNoWorkerCouldJudgeBy) {
  struct Case {
    std::string rules, message;
  };
  for (const Case& c :
       {Case{"[]", "not a JSON object"}, Case{R"({"version": 2})", "`version` must be 1"},
        Case{R"({"version": 1})", "`harmful_patterns` must be a list"},
        Case{R"({"version": 1, "harmful_patterns": ["a", "("]})", "`harmful_patterns` 2 is no"},
        Case{R"({"version": 1, "harmful_patterns": [""]})", "`harmful_patterns` 1 is not"},
        Case{R"({"version": 1, "judge": 1})", "`judge` is not a string"},
        Case{R"({"version": 1, "judge": "oracle"})", "`judge` must be"},
        Case{R"({"version": 1, "judge": "refusal", "refusal_phrases": [1]})",
             "`refusal_phrases` 1 is not"},
        Case{R"({"version": 1, "judge": "causal_lm", "template": "{prompt}"})", "`template`"},
        Case{R"({"version": 1, "judge": "causal_lm", "template": "{prompt}{answer}",
                 "safe": "a", "unsafe": "a"})",
             "`safe` and `unsafe`"},
        Case{R"({"version": 1, "judge": "causal_lm", "template": "{prompt}{answer}",
                 "safe": "a", "unsafe": "b", "threshold": 1})",
             "`threshold`"}}) {
    EXPECT_THAT(CheckRules(c.rules, "rules_json"),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.message)));
  }
}

}  // namespace
}  // namespace wardtune
