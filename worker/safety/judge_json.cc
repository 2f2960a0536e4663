#include "worker/safety/judge_json.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/safety/judge_rules.h"

namespace wardtune {

absl::StatusOr<std::string> JudgeJson::Text(const char* key) const {
  std::string_view text;
  if (object[key].get(text) != simdjson::SUCCESS || text.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("judge rules: '", key, "' must be a text that is not empty"));
  }
  return std::string(text);
}

absl::StatusOr<std::vector<std::string>> JudgeJson::Texts(const char* key) const {
  simdjson::dom::array array;
  if (object[key].get(array) != simdjson::SUCCESS || array.size() == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("judge rules: '", key, "' must be a list with at least one text"));
  }
  std::vector<std::string> texts;
  for (const simdjson::dom::element element : array) {
    std::string_view text;
    if (element.get(text) != simdjson::SUCCESS || text.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("judge rules: ", key, "[", texts.size(), "] must be a text"));
    }
    texts.emplace_back(text);
  }
  return texts;
}

absl::StatusOr<JudgeJson> ReadJudgeJson(std::string_view rules_json) {
  JudgeJson json{.parser = std::make_unique<simdjson::dom::parser>(),
                 .judge = std::string(kRuleJudge)};
  const simdjson::padded_string padded(rules_json);
  if (json.parser->parse(padded).get(json.object) != simdjson::SUCCESS) {
    return absl::InvalidArgumentError("judge rules: not a JSON object");
  }
  int64_t version = 0;
  if (json.object["version"].get(version) != simdjson::SUCCESS || version != 1) {
    return absl::InvalidArgumentError("judge rules: 'version' must be 1");
  }
  simdjson::dom::element named;
  if (json.object["judge"].get(named) != simdjson::SUCCESS) return json;
  std::string_view judge;
  if (named.get(judge) != simdjson::SUCCESS) {
    return absl::InvalidArgumentError("judge rules: 'judge' must be a text");
  }
  json.judge = std::string(judge);
  return json;
}

absl::StatusOr<JudgeJson> ReadJudgeJson(std::string_view rules_json, std::string_view judge) {
  WT_ASSIGN_OR_RETURN(JudgeJson json, ReadJudgeJson(rules_json));
  if (json.judge == judge) return json;
  return absl::InvalidArgumentError(
      absl::StrCat("judge rules: 'judge' must be '", std::string(judge), "'"));
}

}  // namespace wardtune
