// Rows of token ids in a file that our trainer and its peers read alike.
// Thread safety: pure function.
#ifndef WARDTUNE_BENCH_TRAIN_TOKEN_ROWS_H_
#define WARDTUNE_BENCH_TRAIN_TOKEN_ROWS_H_

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/training/training_row.h"

namespace wardtune {

// Lines of {"ids": [..], "mask": [..]}, both of one length.
// Errors: INVALID_ARGUMENT naming the line.
absl::StatusOr<std::vector<TrainingRow>> ParseTokenRows(std::string_view jsonl);

}  // namespace wardtune

#endif  // WARDTUNE_BENCH_TRAIN_TOKEN_ROWS_H_
