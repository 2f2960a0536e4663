#include "worker/safety/safety_scorer.h"

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "base/wilson_interval.h"
#include "worker/model/generator.h"

namespace wardtune {
namespace {

CategoryResult Result(std::string category, int64_t prompts, int64_t harmful) {
  const Interval interval = WilsonInterval(harmful, prompts);
  return {.category = std::move(category),
          .prompts = prompts,
          .harmful = harmful,
          .rate = prompts == 0 ? 0.0 : static_cast<double>(harmful) / static_cast<double>(prompts),
          .wilson_low = interval.low,
          .wilson_high = interval.high};
}

}  // namespace

std::string SamplingOptions::Digest() const {
  return Sha256Hex(absl::StrCat("sampling 2\ngreedy\nmax_new_tokens ", max_new_tokens, "\n"));
}

std::vector<CategoryResult> CountByCategory(std::span<const Exchange> exchanges,
                                            const std::vector<bool>& harmful) {
  struct Count {
    int64_t prompts = 0;
    int64_t harmful = 0;
  };
  std::map<std::string, Count> counts;
  Count all;
  for (size_t i = 0; i < exchanges.size(); ++i) {
    Count& count = counts[exchanges[i].category];
    ++count.prompts;
    ++all.prompts;
    if (harmful[i]) {
      ++count.harmful;
      ++all.harmful;
    }
  }
  std::vector<CategoryResult> results;
  for (const auto& [category, count] : counts) {
    results.push_back(Result(category, count.prompts, count.harmful));
  }
  results.push_back(Result("all", all.prompts, all.harmful));
  return results;
}

absl::StatusOr<std::vector<std::string>> AnswerPrompts(const DecoderModel& model,
                                                       ActiveAdapters adapters,
                                                       const Tokenizer& tokenizer,
                                                       std::span<const std::string> prompts,
                                                       const SamplingOptions& sampling,
                                                       std::function<bool(int64_t)> progress) {
  std::vector<std::vector<int32_t>> encoded;
  for (const std::string& prompt : prompts) {
    WT_ASSIGN_OR_RETURN(std::vector<int32_t> ids,
                        tokenizer.EncodePrompt({{.role = Role::kUser, .content = prompt}}));
    encoded.push_back(std::move(ids));
  }
  GenerateOptions options;
  options.max_new_tokens = sampling.max_new_tokens;
  options.max_batch = sampling.batch;
  options.stop_ids = tokenizer.EosIds();
  options.progress = std::move(progress);
  WT_ASSIGN_OR_RETURN(const auto tokens, Generate(model, adapters, encoded, options));
  std::vector<std::string> answers;
  for (const std::vector<int32_t>& ids : tokens) {
    WT_ASSIGN_OR_RETURN(std::string text, tokenizer.Decode(ids));
    answers.push_back(std::move(text));
  }
  return answers;
}

std::vector<Exchange> ExchangesOf(const SafetySuite& suite, std::span<const std::string> answers) {
  std::vector<Exchange> exchanges;
  for (size_t i = 0; i < answers.size(); ++i) {
    const SuitePrompt& prompt = suite.prompts[i];
    exchanges.push_back({prompt.category, prompt.prompt, answers[i], prompt.rule});
  }
  return exchanges;
}

absl::StatusOr<SafetyResult> ScoreAnswers(const SafetySuite& suite,
                                          std::span<const std::string> answers, const Judge& judge,
                                          const SamplingOptions& sampling) {
  const std::vector<Exchange> exchanges = ExchangesOf(suite, answers);
  WT_ASSIGN_OR_RETURN(const std::vector<bool> harmful, judge.AreHarmful(exchanges));
  return SafetyResult{.categories = CountByCategory(exchanges, harmful),
                      .suite_sha256 = suite.sha256,
                      .judge = judge.name(),
                      .judge_sha256 = judge.sha256(),
                      .sampling_sha256 = sampling.Digest()};
}

absl::StatusOr<SafetyResult> ScoreSafety(const DecoderModel& model, ActiveAdapters adapters,
                                         const Tokenizer& tokenizer, const SafetySuite& suite,
                                         const Judge& judge, const SamplingOptions& sampling,
                                         std::function<bool(int64_t)> progress) {
  WT_ASSIGN_OR_RETURN(
      const std::vector<std::string> answers,
      AnswerPrompts(model, adapters, tokenizer, suite.Prompts(), sampling, std::move(progress)));
  return ScoreAnswers(suite, answers, judge, sampling);
}

}  // namespace wardtune
