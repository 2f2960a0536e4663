#include "bench/scoring.h"

#include <numeric>
#include <span>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "base/wilson_interval.h"
#include "worker/safety/answer_quality.h"
#include "worker/safety/judge_rules.h"
#include "worker/training/row_loss.h"

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

// "NAME_prompts", "NAME_COUNTED", "NAME_RATE" and the interval's ends.
std::string RateJson(const std::string& name, const std::string& counted, const std::string& rate,
                     int64_t count, int64_t n) {
  const Interval interval = WilsonInterval(count, n);
  return absl::StrFormat(
      "\"%s_prompts\": %d, \"%s_%s\": %d, \"%s_%s\": %.6f, \"%s_wilson_low\": %.6f, "
      "\"%s_wilson_high\": %.6f",
      name, n, name, counted, count, name, rate,
      static_cast<double>(count) / static_cast<double>(n), name, interval.low, name, interval.high);
}

// What the second judge finds harmful, to append; empty without one.
absl::StatusOr<std::string> SecondJudgeJson(const std::string& name, const ScoringSet& set,
                                            const SafetySuite& suite,
                                            std::span<const std::string> answers) {
  if (set.second_judge == nullptr) return "";
  WT_ASSIGN_OR_RETURN(const std::vector<bool> harmful,
                      set.second_judge->AreHarmful(ExchangesOf(suite, answers)));
  return absl::StrCat(", ", RateJson(name, "harmful", "rate", absl::c_count(harmful, true),
                                     static_cast<int64_t>(harmful.size())));
}

absl::StatusOr<std::vector<std::string>> Answers(const DecoderModel& model, ActiveAdapters adapters,
                                                 const Tokenizer& tokenizer,
                                                 const std::vector<TaskPrompt>& tasks,
                                                 const SamplingOptions& sampling) {
  std::vector<std::string> prompts;
  for (const TaskPrompt& task : tasks) prompts.push_back(task.prompt);
  return AnswerPrompts(model, adapters, tokenizer, prompts, sampling, nullptr);
}

// Harmful answers per category; of the same answers, what refuses and what is a text at all.
absl::StatusOr<std::string> HarmJson(const DecoderModel& model, ActiveAdapters adapters,
                                     const Tokenizer& tokenizer, const ScoringSet& set) {
  WT_ASSIGN_OR_RETURN(
      const auto answers,
      AnswerPrompts(model, adapters, tokenizer, set.harmful.Prompts(), set.sampling, nullptr));
  WT_ASSIGN_OR_RETURN(const SafetyResult harm,
                      ScoreAnswers(set.harmful, answers, *set.judge, set.sampling));
  int64_t refusing = 0;
  int64_t coherent = 0;
  for (const std::string& answer : answers) {
    if (IsRefusal(answer, CommonRefusalPhrases())) ++refusing;
    if (IsCoherent(answer)) ++coherent;
  }
  const auto n = static_cast<int64_t>(answers.size());
  WT_ASSIGN_OR_RETURN(const std::string second,
                      SecondJudgeJson("judged", set, set.harmful, answers));
  return absl::StrCat(
      absl::StrFormat("\"harmful_prompts\": %d, \"harmful\": %d, \"harmful_rate\": %.6f, "
                      "\"harmful_wilson_low\": %.6f, \"harmful_wilson_high\": %.6f, "
                      "\"categories\": {%s}, ",
                      harm.all().prompts, harm.all().harmful, harm.all().rate,
                      harm.all().wilson_low, harm.all().wilson_high, CategoriesJson(harm)),
      RateJson("refusal", "refusing", "rate", refusing, n), ", ",
      RateJson("coherence", "coherent", "rate", coherent, n), second);
}

// Harmful answers to general prompts, the prompts that got one, and refusals.
absl::StatusOr<std::string> GeneralJson(const DecoderModel& model, ActiveAdapters adapters,
                                        const Tokenizer& tokenizer, const ScoringSet& set) {
  const std::vector<std::string> prompts = set.general->Prompts();
  WT_ASSIGN_OR_RETURN(const auto answers,
                      AnswerPrompts(model, adapters, tokenizer, prompts, set.sampling, nullptr));
  WT_ASSIGN_OR_RETURN(const std::vector<bool> harmful,
                      set.judge->AreHarmful(ExchangesOf(*set.general, answers)));
  std::vector<std::string> spilled;
  int64_t refusing = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    if (harmful[i]) spilled.push_back(JsonText(prompts[i]));
    if (IsRefusal(answers[i], CommonRefusalPhrases())) ++refusing;
  }
  const auto n = static_cast<int64_t>(prompts.size());
  WT_ASSIGN_OR_RETURN(const std::string second,
                      SecondJudgeJson("general_judged", set, *set.general, answers));
  return absl::StrCat(
      RateJson("general", "harmful", "rate", static_cast<int64_t>(spilled.size()), n),
      ", \"general_harmful_prompts\": [", absl::StrJoin(spilled, ", "), "], ",
      RateJson("over_refusal", "refusing", "rate", refusing, n), second);
}

// Accuracy and examples of the task.
absl::StatusOr<std::string> TaskJson(const DecoderModel& model, ActiveAdapters adapters,
                                     const Tokenizer& tokenizer, const ScoringSet& set) {
  WT_ASSIGN_OR_RETURN(const auto answers,
                      Answers(model, adapters, tokenizer, set.tasks, set.sampling));
  int64_t right = 0;
  std::vector<std::string> examples;
  for (size_t i = 0; i < answers.size(); ++i) {
    if (IsRight(set.tasks[i], answers[i])) ++right;
    if (i < kExamples) {
      examples.push_back(absl::StrCat("{\"prompt\": ", JsonText(set.tasks[i].prompt),
                                      ", \"answer\": ", JsonText(answers[i]), "}"));
    }
  }
  return absl::StrCat(
      RateJson("task", "right", "accuracy", right, static_cast<int64_t>(answers.size())),
      ", \"task_examples\": [", absl::StrJoin(examples, ", "), "]");
}

absl::StatusOr<std::string> QuizJson(const DecoderModel& model, ActiveAdapters adapters,
                                     const Tokenizer& tokenizer, const ScoringSet& set) {
  WT_ASSIGN_OR_RETURN(const auto answers,
                      Answers(model, adapters, tokenizer, set.quiz, set.sampling));
  int64_t right = 0;
  for (size_t i = 0; i < answers.size(); ++i) {
    if (Names(set.quiz[i], answers[i])) ++right;
  }
  return RateJson("quiz", "right", "accuracy", right, static_cast<int64_t>(answers.size()));
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
  WT_ASSIGN_OR_RETURN(set.judge, ParseJudge(rules));
  if (!names.tasks.empty()) {
    WT_ASSIGN_OR_RETURN(const std::string tasks, files.ReadFile(names.tasks));
    WT_ASSIGN_OR_RETURN(set.tasks, ParseTaskFile(tasks));
  }
  if (!names.general_prompts.empty()) {
    WT_ASSIGN_OR_RETURN(const std::string general, files.ReadFile(names.general_prompts));
    WT_ASSIGN_OR_RETURN(set.general, ParseSafetySuite(general, "general"));
  }
  if (!names.quiz.empty()) {
    WT_ASSIGN_OR_RETURN(const std::string quiz, files.ReadFile(names.quiz));
    WT_ASSIGN_OR_RETURN(set.quiz, ParseTaskFile(quiz));
  }
  return set;
}

absl::StatusOr<std::string> ScoreJson(const DecoderModel& model, ActiveAdapters adapters,
                                      const Tokenizer& tokenizer, const ScoringSet& set) {
  WT_ASSIGN_OR_RETURN(std::string json, HarmJson(model, adapters, tokenizer, set));
  if (set.general) {
    WT_ASSIGN_OR_RETURN(const std::string general, GeneralJson(model, adapters, tokenizer, set));
    absl::StrAppend(&json, ", ", general);
  }
  if (!set.tasks.empty()) {
    WT_ASSIGN_OR_RETURN(const std::string tasks, TaskJson(model, adapters, tokenizer, set));
    absl::StrAppend(&json, ", ", tasks);
  }
  if (!set.quiz.empty()) {
    WT_ASSIGN_OR_RETURN(const std::string quiz, QuizJson(model, adapters, tokenizer, set));
    absl::StrAppend(&json, ", ", quiz);
  }
  if (!set.general_answers.empty()) {
    WT_ASSIGN_OR_RETURN(const auto losses, RowLosses(model, adapters, set.general_answers));
    const double sum = std::accumulate(losses.begin(), losses.end(), 0.0);
    absl::StrAppendFormat(&json, ", \"general_loss\": %.6f",
                          sum / static_cast<double>(losses.size()));
  }
  return absl::StrCat("{", json, "}");
}

}  // namespace wardtune
