// What the programs share that train a model and score it: their common flags (--model, --suite,
// --rules, --tasks, the hyperparameters, --out and more), the base model, and the way to the
// report. Thread safety: belongs to main's thread.
#ifndef WARDTUNE_BENCH_EVIDENCE_BENCH_H_
#define WARDTUNE_BENCH_EVIDENCE_BENCH_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/flags/declare.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/file_system.h"
#include "bench/scoring.h"
#include "formats/chat_row.h"
#include "formats/tokenizer.h"
#include "wardtune/v1/fine_tuning_service.pb.h"
#include "worker/model/decoder.h"
#include "worker/training/training_row.h"

ABSL_DECLARE_FLAG(int64_t, seed);

namespace wardtune {

struct EvidenceBench {
  PosixFileSystem files;
  SystemClock clock;
  std::optional<DecoderModel> base;
  std::unique_ptr<Tokenizer> tokenizer;
  ScoringSet set;
};

// Loads --model with its tokenizer. Errors: those of the readers.
absl::Status LoadBase(EvidenceBench& bench);
// Reads --suite, --rules and --tasks, and of `more` the general prompts and the quiz.
// Errors: those of the readers, with the file's own message.
absl::Status ReadScoring(EvidenceBench& bench, const ScoringFiles& more = {});
// Errors: those of the file system and of the rows' parser.
absl::StatusOr<std::vector<ChatRow>> ReadRows(EvidenceBench& bench, const std::string& path);
// The same as tokens, each row cut at `max_row_tokens`.
absl::StatusOr<std::vector<TrainingRow>> ReadEncoded(EvidenceBench& bench, const std::string& path,
                                                     int64_t max_row_tokens);

// The flags' hyperparameters, with the service's defaults in what they leave out.
v1::Hyperparameters CustomerHyperparameters();

// main: runs `run` and writes the JSON that it gives, with a newline, to --out. Returns the exit
// code; an error goes to standard error under the program's `name`.
int RunEvidenceBench(int argc, char** argv, const std::string& name, const std::string& usage,
                     const std::function<absl::StatusOr<std::string>(EvidenceBench&)>& run);

}  // namespace wardtune

#endif  // WARDTUNE_BENCH_EVIDENCE_BENCH_H_
