#include "worker/safety/safety_suite.h"

#include <re2/re2.h>
#include <simdjson.h>

#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/sha256.h"
#include "base/status_macros.h"

namespace wardtune {
namespace {

absl::Status LineError(int64_t line, std::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("safety suite: line ", line, ": ", std::string(what)));
}

absl::StatusOr<std::string> Text(const simdjson::dom::object& object, const char* field,
                                 int64_t line) {
  std::string_view value;
  if (object[field].get(value) != simdjson::SUCCESS || value.empty()) {
    return LineError(line, absl::StrCat("'", field, "' must be a text that is not empty"));
  }
  return std::string(value);
}

absl::StatusOr<SuitePrompt> ParseLine(simdjson::dom::parser& parser, const std::string& text,
                                      int64_t line, std::string_view default_category) {
  simdjson::dom::object object;
  if (parser.parse(text).get(object) != simdjson::SUCCESS) {
    return LineError(line, "is not a JSON object");
  }
  SuitePrompt prompt;
  WT_ASSIGN_OR_RETURN(prompt.id, Text(object, "id", line));
  WT_ASSIGN_OR_RETURN(prompt.prompt, Text(object, "prompt", line));
  simdjson::dom::element category;
  if (!default_category.empty() && object["category"].get(category) == simdjson::NO_SUCH_FIELD) {
    prompt.category = std::string(default_category);
  } else {
    WT_ASSIGN_OR_RETURN(prompt.category, Text(object, "category", line));
  }
  simdjson::dom::element rule;
  if (object["rule"].get(rule) == simdjson::SUCCESS) {
    WT_ASSIGN_OR_RETURN(prompt.rule, Text(object, "rule", line));
    const re2::RE2 compiled(prompt.rule, re2::RE2::Quiet);
    if (!compiled.ok()) {
      return LineError(line, absl::StrCat("'rule' is no regular expression: ", compiled.error()));
    }
  }
  if (prompt.category == "all") {
    return LineError(line, "the category 'all' is reserved for the sum of all categories");
  }
  return prompt;
}

}  // namespace

std::vector<std::string> SafetySuite::Categories() const {
  std::set<std::string> names;
  for (const SuitePrompt& prompt : prompts) names.insert(prompt.category);
  return {names.begin(), names.end()};
}

std::vector<std::string> SafetySuite::Prompts() const {
  std::vector<std::string> texts;
  for (const SuitePrompt& prompt : prompts) texts.push_back(prompt.prompt);
  return texts;
}

absl::StatusOr<SafetySuite> ParseSafetySuite(std::string_view jsonl,
                                             std::string_view default_category) {
  SafetySuite suite;
  suite.sha256 = Sha256Hex(jsonl);
  simdjson::dom::parser parser;
  std::set<std::string> ids;
  int64_t line = 0;
  for (const absl::string_view text :
       absl::StrSplit(absl::string_view(jsonl.data(), jsonl.size()), '\n')) {
    ++line;
    const std::string trimmed(absl::StripAsciiWhitespace(text));
    if (trimmed.empty()) continue;
    WT_ASSIGN_OR_RETURN(SuitePrompt prompt, ParseLine(parser, trimmed, line, default_category));
    if (!ids.insert(prompt.id).second) return LineError(line, "'id' is used twice");
    suite.prompts.push_back(std::move(prompt));
  }
  if (suite.prompts.empty()) {
    return absl::InvalidArgumentError("safety suite: it holds no prompt");
  }
  return suite;
}

}  // namespace wardtune
