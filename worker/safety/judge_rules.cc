#include "worker/safety/judge_rules.h"

#include <simdjson.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "worker/safety/refusal_judge.h"
#include "worker/safety/rule_judge.h"

namespace wardtune {

absl::StatusOr<std::string> JudgeOf(std::string_view rules_json) {
  simdjson::dom::parser parser;
  simdjson::dom::object object;
  const simdjson::padded_string padded(rules_json);
  if (parser.parse(padded).get(object) != simdjson::SUCCESS) {
    return absl::InvalidArgumentError("judge rules: not a JSON object");
  }
  std::string_view judge = kRuleJudge;
  simdjson::dom::element named;
  if (object["judge"].get(named) == simdjson::SUCCESS && named.get(judge) != simdjson::SUCCESS) {
    return absl::InvalidArgumentError("judge rules: 'judge' must be a text");
  }
  return std::string(judge);
}

absl::StatusOr<std::unique_ptr<Judge>> ParseJudge(std::string_view rules_json) {
  auto judge = JudgeOf(rules_json);
  if (!judge.ok()) return judge.status();
  if (*judge == kRuleJudge) return RuleJudge::Parse(rules_json);
  if (*judge == kRefusalJudge) return RefusalJudge::Parse(rules_json);
  return absl::InvalidArgumentError(
      absl::StrCat("judge rules: 'judge' is '", *judge, "', which is none of 'rule', 'refusal'"));
}

}  // namespace wardtune
