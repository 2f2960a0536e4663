// Batched text generation with a key/value cache.
//
// Prompts are sorted by length, run in groups, and each decode step multiplies the tokens of a
// whole group at once. With temperature 0 the result is the arg-max path; with a temperature every
// sequence draws from a generator of its own, seeded by (seed, index of the prompt), so its text
// does not depend on how prompts are grouped beyond rounding. Thread safety: a call may come from
// any thread.
#ifndef WARDTUNE_WORKER_MODEL_GENERATOR_H_
#define WARDTUNE_WORKER_MODEL_GENERATOR_H_

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/model/decoder.h"

namespace wardtune {

struct GenerateOptions {
  int64_t max_new_tokens = 64;
  // Generation of a sequence ends with any of these, which is left out unless it is to be kept.
  std::vector<int32_t> stop_ids;
  bool keep_stop_id = false;
  double temperature = 0.0;  // 0: greedy
  uint64_t seed = 0;
  // Most sequences decoded together, and most tokens that their caches have room for: weights are
  // read once a step for all of them, caches take memory. One sequence always fits.
  int64_t max_batch = 128;
  int64_t max_cache_tokens = 32768;
  // Called after every group with the number of finished prompts; returning false ends the call
  // with CANCELLED. May be empty.
  std::function<bool(int64_t finished)> progress;
};

// The new tokens of each prompt, in the order of `prompts`, without the prompt.
// Errors: INVALID_ARGUMENT for an empty prompt, a token id outside the vocabulary, or a prompt that
// leaves no room in the model's context; CANCELLED when `progress` asked for it.
absl::StatusOr<std::vector<std::vector<int32_t>>> Generate(
    const DecoderModel& model, ActiveAdapters adapters,
    std::span<const std::vector<int32_t>> prompts, const GenerateOptions& options);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_GENERATOR_H_
