// Which rows of a micro-batch begin alike, so that those tokens go through the model once: rows of
// one data set mostly share a system prompt and what their chat template puts before the user's
// words. Thread safety: pure functions.
#ifndef WARDTUNE_WORKER_TRAINING_ROW_PREFIXES_H_
#define WARDTUNE_WORKER_TRAINING_ROW_PREFIXES_H_

#include <cstdint>
#include <span>
#include <vector>

#include "worker/model/packed_tokens.h"
#include "worker/training/training_row.h"

namespace wardtune {

// Appends what each row shares with the first of them, for PackTokens: nothing for the first, and
// for another only tokens before those from which something supervised is predicted, so that every
// row has the states of its loss to itself. `with` counts from the rows that `prefixes` has.
// REQUIRES: the rows run on the same weights and adapters; each has a supervised token.
void AppendPrefixes(std::span<const TrainingRow* const> rows, std::vector<SharedPrefix>& prefixes);

// Tokens that any two of the rows share in one stream; 0 for a row alone.
int64_t CommonPrefix(std::span<const TrainingRow* const> rows);

// The rows as one stream: with the prefixes of all where `share` says so.
PackedTokens PackRows(std::span<const TrainingRow* const> rows, bool share, at::Device device);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_TRAINING_ROW_PREFIXES_H_
