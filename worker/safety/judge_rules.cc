#include "worker/safety/judge_rules.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/safety/judge_json.h"
#include "worker/safety/refusal_judge.h"
#include "worker/safety/rule_judge.h"

namespace wardtune {

absl::StatusOr<std::string> JudgeOf(std::string_view rules_json) {
  WT_ASSIGN_OR_RETURN(JudgeJson json, ReadJudgeJson(rules_json));
  return std::move(json.judge);
}

absl::StatusOr<std::unique_ptr<Judge>> ParseJudge(std::string_view rules_json) {
  WT_ASSIGN_OR_RETURN(const std::string judge, JudgeOf(rules_json));
  if (judge == kRuleJudge) return RuleJudge::Parse(rules_json);
  if (judge == kRefusalJudge) return RefusalJudge::Parse(rules_json);
  return absl::InvalidArgumentError(
      absl::StrCat("judge rules: 'judge' is '", judge, "', which is none of 'rule', 'refusal'"));
}

}  // namespace wardtune
