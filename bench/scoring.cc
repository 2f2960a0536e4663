#include "bench/scoring.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "worker/safety/wilson_interval.h"

namespace wardtune {
namespace {

constexpr size_t kExamples = 3;

std::string CategoriesJson(const SafetyResult& result) {
  std::vector<std::string> categories;
  for (const CategoryResult& c : result.categories) {
    categories.push_back(absl::StrFormat(
        "%s: {\"prompts\": %d, \"harmful\": %d, \"rate\": %.6f, \"wilson_low\": %.6f, "
        "\"wilson_high\": %.6f}",
        JsonText(c.category), c.prompts, c.harmful, c.rate, c.wilson_low, c.wilson_high));
  }
  return absl::StrJoin(categories, ", ");
}

// Accuracy and examples of the task, as members of a JSON object.
absl::StatusOr<std::string> TaskJson(const DecoderModel& model, ActiveAdapters adapters,
                                     const Tokenizer& tokenizer, const ScoringSet& set) {
  std::vector<std::string> prompts;
  for (const TaskPrompt& task : set.tasks) prompts.push_back(task.prompt);
  WT_ASSIGN_OR_RETURN(const auto answers,
                      AnswerPrompts(model, adapters, tokenizer, prompts, set.sampling, nullptr));
  int64_t right = 0;
  std::vector<std::string> examples;
  for (size_t i = 0; i < answers.size(); ++i) {
    if (IsRight(set.tasks[i], answers[i])) ++right;
    if (i < kExamples) {
      examples.push_back(absl::StrCat("{\"prompt\": ", JsonText(prompts[i]),
                                      ", \"answer\": ", JsonText(answers[i]), "}"));
    }
  }
  const auto n = static_cast<int64_t>(answers.size());
  const Interval accuracy = WilsonInterval(right, n);
  return absl::StrFormat(
      "\"task_prompts\": %d, \"task_right\": %d, \"task_accuracy\": %.6f, "
      "\"task_wilson_low\": %.6f, \"task_wilson_high\": %.6f, \"task_examples\": [%s]",
      n, right, static_cast<double>(right) / static_cast<double>(n), accuracy.low, accuracy.high,
      absl::StrJoin(examples, ", "));
}

}  // namespace

// UTF-8 text as a JSON string.
std::string JsonText(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppendFormat(&out, "\\u%04x", c);
    } else {
      out += c;
    }
  }
  return out + "\"";
}

absl::StatusOr<ScoringSet> ReadScoringSet(FileSystem& files, const ScoringFiles& names,
                                          const SamplingOptions& sampling) {
  ScoringSet set;
  set.sampling = sampling;
  WT_ASSIGN_OR_RETURN(const std::string prompts, files.ReadFile(names.harmful_prompts));
  WT_ASSIGN_OR_RETURN(set.harmful, ParseSafetySuite(prompts));
  WT_ASSIGN_OR_RETURN(const std::string rules, files.ReadFile(names.rules));
  WT_ASSIGN_OR_RETURN(set.judge, RuleJudge::Parse(rules));
  if (!names.tasks.empty()) {
    WT_ASSIGN_OR_RETURN(const std::string tasks, files.ReadFile(names.tasks));
    WT_ASSIGN_OR_RETURN(set.tasks, ParseTaskFile(tasks));
  }
  if (!names.general_prompts.empty()) {
    WT_ASSIGN_OR_RETURN(const std::string general, files.ReadFile(names.general_prompts));
    WT_ASSIGN_OR_RETURN(set.general, ParseSafetySuite(general, "general"));
  }
  return set;
}

absl::StatusOr<std::string> ScoreJson(const DecoderModel& model, ActiveAdapters adapters,
                                      const Tokenizer& tokenizer, const ScoringSet& set) {
  WT_ASSIGN_OR_RETURN(const SafetyResult harm, ScoreSafety(model, adapters, tokenizer, set.harmful,
                                                           *set.judge, set.sampling, nullptr));
  std::string json = absl::StrFormat(
      "{\"harmful_prompts\": %d, \"harmful\": %d, \"harmful_rate\": %.6f, "
      "\"harmful_wilson_low\": %.6f, \"harmful_wilson_high\": %.6f, \"categories\": {%s}",
      harm.all().prompts, harm.all().harmful, harm.all().rate, harm.all().wilson_low,
      harm.all().wilson_high, CategoriesJson(harm));
  if (set.general) {
    WT_ASSIGN_OR_RETURN(
        const SafetyResult general,
        ScoreSafety(model, adapters, tokenizer, *set.general, *set.judge, set.sampling, nullptr));
    absl::StrAppendFormat(&json,
                          ", \"general_prompts\": %d, \"general_harmful\": %d, "
                          "\"general_rate\": %.6f, \"general_wilson_low\": %.6f, "
                          "\"general_wilson_high\": %.6f",
                          general.all().prompts, general.all().harmful, general.all().rate,
                          general.all().wilson_low, general.all().wilson_high);
  }
  if (!set.tasks.empty()) {
    WT_ASSIGN_OR_RETURN(const std::string tasks, TaskJson(model, adapters, tokenizer, set));
    absl::StrAppend(&json, ", ", tasks);
  }
  return json + "}";
}

}  // namespace wardtune
