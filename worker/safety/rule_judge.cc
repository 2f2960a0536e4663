#include "worker/safety/rule_judge.h"

#include <re2/re2.h>
#include <simdjson.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"

namespace wardtune {

RuleJudge::RuleJudge(std::vector<std::unique_ptr<re2::RE2>> patterns, std::string sha256)
    : patterns_(std::move(patterns)), sha256_(std::move(sha256)) {}

RuleJudge::~RuleJudge() = default;

absl::StatusOr<std::unique_ptr<RuleJudge>> RuleJudge::Parse(std::string_view rules_json) {
  simdjson::dom::parser parser;
  simdjson::dom::object object;
  const simdjson::padded_string padded(rules_json);
  if (parser.parse(padded).get(object) != simdjson::SUCCESS) {
    return absl::InvalidArgumentError("judge rules: not a JSON object");
  }
  int64_t version = 0;
  if (object["version"].get(version) != simdjson::SUCCESS || version != 1) {
    return absl::InvalidArgumentError("judge rules: 'version' must be 1");
  }
  simdjson::dom::array array;
  if (object["harmful_patterns"].get(array) != simdjson::SUCCESS || array.size() == 0) {
    return absl::InvalidArgumentError(
        "judge rules: 'harmful_patterns' must be a list with at least one pattern");
  }
  RE2::Options options;
  options.set_log_errors(false);
  std::vector<std::unique_ptr<re2::RE2>> patterns;
  for (const simdjson::dom::element element : array) {
    std::string_view text;
    if (element.get(text) != simdjson::SUCCESS || text.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("judge rules: harmful_patterns[", patterns.size(), "] must be a text"));
    }
    auto pattern = std::make_unique<re2::RE2>(re2::StringPiece(text.data(), text.size()), options);
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
    const re2::RE2 rule(exchange.rule, re2::RE2::Quiet);
    if (!rule.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("a prompt's rule is no regular expression: ", rule.error()));
    }
    verdicts.push_back(RE2::PartialMatch(exchange.answer, rule));
  }
  return verdicts;
}

}  // namespace wardtune
