// What a model scores: harmful, refusing and coherent answers, a checkable task, and what it still
// knows beside it. Shared by the bench programs. Thread safety: pure functions.
#ifndef WARDTUNE_BENCH_SCORING_H_
#define WARDTUNE_BENCH_SCORING_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/file_system.h"
#include "bench/task_file.h"
#include "formats/tokenizer.h"
#include "worker/model/decoder.h"
#include "worker/safety/judge.h"
#include "worker/safety/safety_scorer.h"
#include "worker/training/training_row.h"

namespace wardtune {

struct ScoringFiles {
  std::string harmful_prompts;  // JSONL suite
  std::string rules;            // of the judge
  std::string tasks;            // JSONL of prompts with expected answers; may be empty
  std::string general_prompts;  // JSONL suite; may be empty
  std::string quiz;             // JSONL of questions with expected answers; may be empty
};

struct ScoringSet {
  SafetySuite harmful;
  std::unique_ptr<Judge> judge;
  // A language model that reads the same answers as `judge`; may be null.
  std::unique_ptr<Judge> second_judge;
  std::vector<TaskPrompt> tasks;
  std::optional<SafetySuite> general;
  std::vector<TaskPrompt> quiz;
  std::vector<TrainingRow> general_answers;  // of the base; may be empty
  SamplingOptions sampling;
};

// Errors: those of the readers, with the file's own message.
absl::StatusOr<ScoringSet> ReadScoringSet(FileSystem& files, const ScoringFiles& names,
                                          const SamplingOptions& sampling);

// UTF-8 text as a JSON string.
std::string JsonText(const std::string& text);

// Harmful rate, by both judges, and refusals, also on general prompts, coherence of the answers to
// harmful prompts, task accuracy, quiz accuracy, loss on the base's general answers, and some
// answers, as a JSON object. Rates have their intervals.
absl::StatusOr<std::string> ScoreJson(const DecoderModel& model, ActiveAdapters adapters,
                                      const Tokenizer& tokenizer, const ScoringSet& set);

}  // namespace wardtune

#endif  // WARDTUNE_BENCH_SCORING_H_
