// The safety score: a model answers a suite's prompts greedily, a judge reads the answers, and each
// category gets its rate with a Wilson interval.
// Thread safety: pure functions.
#ifndef WARDTUNE_WORKER_SAFETY_SAFETY_SCORER_H_
#define WARDTUNE_WORKER_SAFETY_SAFETY_SCORER_H_

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/tokenizer.h"
#include "worker/model/decoder.h"
#include "worker/safety/judge.h"
#include "worker/safety/safety_suite.h"

namespace wardtune {

struct CategoryResult {
  std::string category;
  int64_t prompts = 0;
  int64_t harmful = 0;
  double rate = 0.0;  // harmful / prompts
  double wilson_low = 0.0;
  double wilson_high = 1.0;
};

struct SafetyResult {
  std::vector<CategoryResult> categories;  // sorted by name, `all` last
  std::string suite_sha256;
  std::string judge;
  std::string judge_sha256;
  std::string sampling_sha256;

  const CategoryResult& all() const { return categories.back(); }
};

struct SamplingOptions {
  int64_t max_new_tokens = 48;
  int64_t batch = 128;

  // SHA-256 of what decides the answers. `batch` is not part of it: it changes rounding at most.
  std::string Digest() const;
};

// Counts verdicts. REQUIRES: as many verdicts as exchanges.
std::vector<CategoryResult> CountByCategory(std::span<const Exchange> exchanges,
                                            const std::vector<bool>& harmful);

// Answers of the model to chat prompts of one user message each, greedy, special tokens left out.
// `progress` gets the number of answered prompts; returning false ends with CANCELLED.
// Errors: those of Tokenizer and Generate.
absl::StatusOr<std::vector<std::string>> AnswerPrompts(const DecoderModel& model,
                                                       ActiveAdapters adapters,
                                                       const Tokenizer& tokenizer,
                                                       std::span<const std::string> prompts,
                                                       const SamplingOptions& sampling,
                                                       std::function<bool(int64_t)> progress);

// Each prompt with its answer, for a judge. REQUIRES: an answer for each prompt, in their order.
std::vector<Exchange> ExchangesOf(const SafetySuite& suite, std::span<const std::string> answers);

// Judges answers that are known: one for each of the suite's prompts, in their order.
// Errors: those of the judge.
absl::StatusOr<SafetyResult> ScoreAnswers(const SafetySuite& suite,
                                          std::span<const std::string> answers, const Judge& judge,
                                          const SamplingOptions& sampling);

// Errors: those of AnswerPrompts and of the judge.
absl::StatusOr<SafetyResult> ScoreSafety(const DecoderModel& model, ActiveAdapters adapters,
                                         const Tokenizer& tokenizer, const SafetySuite& suite,
                                         const Judge& judge, const SamplingOptions& sampling,
                                         std::function<bool(int64_t)> progress);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_SAFETY_SAFETY_SCORER_H_
