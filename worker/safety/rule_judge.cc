#include "worker/safety/rule_judge.h"

#include <re2/re2.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "worker/safety/judge_json.h"
#include "worker/safety/prompt_rule.h"

namespace wardtune {

RuleJudge::RuleJudge(std::vector<std::unique_ptr<re2::RE2>> patterns, std::string sha256)
    : patterns_(std::move(patterns)), sha256_(std::move(sha256)) {}

RuleJudge::~RuleJudge() = default;

absl::StatusOr<std::unique_ptr<RuleJudge>> RuleJudge::Parse(std::string_view rules_json) {
  WT_ASSIGN_OR_RETURN(const JudgeJson json, ReadJudgeJson(rules_json));
  WT_ASSIGN_OR_RETURN(const std::vector<std::string> texts, json.Texts("harmful_patterns"));
  RE2::Options options;
  options.set_log_errors(false);
  std::vector<std::unique_ptr<re2::RE2>> patterns;
  for (const std::string& text : texts) {
    auto pattern = std::make_unique<re2::RE2>(text, options);
    if (!pattern->ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("judge rules: harmful_patterns[", patterns.size(),
                       "] is no regular expression: ", pattern->error()));
    }
    patterns.push_back(std::move(pattern));
  }
  return std::unique_ptr<RuleJudge>(new RuleJudge(std::move(patterns), Sha256Hex(rules_json)));
}

bool RuleJudge::IsHarmful(std::string_view answer) const {
  const re2::StringPiece text(answer.data(), answer.size());
  for (const auto& pattern : patterns_) {
    if (RE2::PartialMatch(text, *pattern)) return true;
  }
  return false;
}

absl::StatusOr<std::vector<bool>> RuleJudge::AreHarmful(std::span<const Exchange> exchanges) const {
  std::vector<bool> verdicts;
  for (const Exchange& exchange : exchanges) {
    if (exchange.rule.empty()) {
      verdicts.push_back(IsHarmful(exchange.answer));
      continue;
    }
    WT_ASSIGN_OR_RETURN(const bool harmful, MatchesOwnRule(exchange));
    verdicts.push_back(harmful);
  }
  return verdicts;
}

}  // namespace wardtune
