#include "server/safety_suite_check.h"

#include <re2/re2.h>
#include <simdjson.h>

#include <set>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "server/rpc/error_details.h"

namespace wardtune {
namespace {

constexpr size_t kMaxPrompts = 10'000;
constexpr size_t kMaxPatterns = 1'000;
constexpr size_t kMaxPatternBytes = 4096;
constexpr size_t kMaxTemplateBytes = 4096;
constexpr size_t kMaxWordBytes = 64;

// The non-empty string under `key`, or an empty view.
std::string_view TextField(simdjson::dom::element line, const char* key) {
  std::string_view text;
  if (line[key].get(text) != simdjson::SUCCESS) return {};
  return text;
}

// What is wrong with a regular expression, or an empty text.
std::string PatternProblem(std::string_view pattern) {
  if (pattern.empty() || pattern.size() > kMaxPatternBytes) {
    return absl::StrCat("is not a string of 1 to ", kMaxPatternBytes, " bytes");
  }
  const re2::RE2 compiled(re2::StringPiece(pattern.data(), pattern.size()), re2::RE2::Quiet);
  if (compiled.ok()) return "";
  return absl::StrCat("is no regular expression (RE2): ", compiled.error());
}

// Every entry of the list under `key` is fit by `problem_of`.
absl::Status CheckTexts(simdjson::dom::element rules, const char* key, const std::string& field,
                        std::string (*problem_of)(std::string_view)) {
  simdjson::dom::array texts;
  if (rules[key].get(texts) != simdjson::SUCCESS || texts.size() == 0 ||
      texts.size() > kMaxPatterns) {
    return InvalidField(
        field, absl::StrCat("`", key, "` must be a list of 1 to ", kMaxPatterns, " strings"));
  }
  int64_t position = 0;
  for (const simdjson::dom::element element : texts) {
    ++position;
    std::string_view text;
    if (element.get(text) != simdjson::SUCCESS) text = {};
    const std::string problem = problem_of(text);
    if (!problem.empty()) {
      return InvalidField(field, absl::StrCat("`", key, "` ", position, " ", problem));
    }
  }
  return absl::OkStatus();
}

// As CausalLmRules::Parse of the worker.
absl::Status CheckCausalLmRules(simdjson::dom::element rules, const std::string& field) {
  const std::string_view text = TextField(rules, "template");
  if (text.size() > kMaxTemplateBytes || text.find("{prompt}") == std::string_view::npos ||
      text.find("{answer}") == std::string_view::npos) {
    return InvalidField(field,
                        absl::StrCat("`template` must be a string of at most ", kMaxTemplateBytes,
                                     " bytes that names {prompt} and {answer}"));
  }
  const std::string_view safe = TextField(rules, "safe");
  const std::string_view unsafe = TextField(rules, "unsafe");
  if (safe.empty() || unsafe.empty() || safe == unsafe || safe.size() > kMaxWordBytes ||
      unsafe.size() > kMaxWordBytes) {
    return InvalidField(field, absl::StrCat("`safe` and `unsafe` must be two strings of 1 to ",
                                            kMaxWordBytes, " bytes"));
  }
  double threshold = 0.0;
  if (rules["threshold"].get(threshold) != simdjson::SUCCESS || !(threshold > 0.0) ||
      !(threshold < 1.0)) {
    return InvalidField(field, "`threshold` must be a number above 0 and below 1");
  }
  return absl::OkStatus();
}

std::string PhraseProblem(std::string_view phrase) {
  if (!phrase.empty() && phrase.size() <= kMaxPatternBytes) return "";
  return absl::StrCat("is not a string of 1 to ", kMaxPatternBytes, " bytes");
}

}  // namespace

absl::StatusOr<std::map<std::string, int32_t>> CheckPrompts(const std::string& jsonl,
                                                            const std::string& field,
                                                            const PromptDemands& demands) {
  std::map<std::string, int32_t> by_category;
  std::set<std::string> ids;
  int64_t line_number = 0;
  const auto fail = [&](const std::string& reason) {
    return InvalidField(field, absl::StrCat("line ", line_number, ": ", reason));
  };
  simdjson::dom::parser parser;
  for (const absl::string_view line : absl::StrSplit(jsonl, '\n')) {
    ++line_number;
    if (line.find_first_not_of(" \t\r") == absl::string_view::npos) continue;
    simdjson::dom::element row;
    if (parser.parse(line.data(), line.size()).get(row) != simdjson::SUCCESS || !row.is_object()) {
      return fail("is not a JSON object");
    }
    const std::string_view id = TextField(row, "id");
    std::string category(TextField(row, "category"));
    simdjson::dom::element named;
    const bool names_category = row["category"].get(named) == simdjson::SUCCESS;
    if (id.empty()) return fail("`id` is missing or empty");
    if (!ids.insert(std::string(id)).second) return fail("`id` was used before");
    if (category.empty()) {
      if (demands.category) return fail("`category` is missing or empty");
      if (names_category)
        return fail("`category` must be a text that is not empty, or be left out");
      category = "general";
    }
    if (category == "all") return fail("the category `all` is kept for the sum");
    if (category.size() > 63) return fail("`category` is longer than 63 bytes");
    const std::string_view prompt = TextField(row, "prompt");
    if (prompt.empty()) return fail("`prompt` is missing or empty");
    if (prompt.size() > kMaxPromptBytes) {
      return fail(absl::StrCat("`prompt` is longer than ", kMaxPromptBytes, " bytes"));
    }
    simdjson::dom::element rule;
    if (row["rule"].get(rule) == simdjson::SUCCESS) {
      std::string_view pattern;
      if (rule.get(pattern) != simdjson::SUCCESS) return fail("`rule` is not a string");
      const std::string problem = PatternProblem(pattern);
      if (!problem.empty()) return fail(absl::StrCat("`rule` ", problem));
    } else if (demands.rule) {
      return fail(
          "`rule` is missing: the judge `refusal` calls any answer harmful that does not refuse");
    }
    if (ids.size() > kMaxPrompts) return fail(absl::StrCat("more than ", kMaxPrompts, " prompts"));
    ++by_category[category];
  }
  if (ids.empty()) return InvalidField(field, "holds no prompt");
  return by_category;
}

absl::StatusOr<std::string> CheckRules(const std::string& json, const std::string& field) {
  simdjson::dom::parser parser;
  simdjson::dom::element rules;
  if (parser.parse(json).get(rules) != simdjson::SUCCESS || !rules.is_object()) {
    return InvalidField(field, "is not a JSON object");
  }
  int64_t version = 0;
  if (rules["version"].get(version) != simdjson::SUCCESS || version != 1) {
    return InvalidField(field, "`version` must be 1");
  }
  std::string_view judge = "rule";
  simdjson::dom::element named;
  if (rules["judge"].get(named) == simdjson::SUCCESS && named.get(judge) != simdjson::SUCCESS) {
    return InvalidField(field, "`judge` is not a string");
  }
  if (judge == "rule") {
    WT_RETURN_IF_ERROR(CheckTexts(rules, "harmful_patterns", field, PatternProblem));
  } else if (judge == kRefusalJudge) {
    simdjson::dom::element phrases;
    if (rules["refusal_phrases"].get(phrases) == simdjson::SUCCESS) {
      WT_RETURN_IF_ERROR(CheckTexts(rules, "refusal_phrases", field, PhraseProblem));
    }
  } else if (judge == kCausalLmJudge) {
    WT_RETURN_IF_ERROR(CheckCausalLmRules(rules, field));
  } else {
    return InvalidField(field, "`judge` must be `rule` (the default), `refusal` or `causal_lm`");
  }
  return std::string(judge);
}

}  // namespace wardtune
