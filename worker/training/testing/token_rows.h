// Rows for tests, for models of testing::TinyConfig's vocabulary.
#ifndef WARDTUNE_WORKER_TRAINING_TESTING_TOKEN_ROWS_H_
#define WARDTUNE_WORKER_TRAINING_TESTING_TOKEN_ROWS_H_

#include <cstdint>
#include <vector>

#include "worker/training/training_row.h"

namespace wardtune::testing {

// Row r has shortest + r % spread tokens, which depend on r and `salt`; all but the first two are
// supervised.
inline std::vector<TrainingRow> TokenRows(int count, int32_t salt, int32_t shortest = 5,
                                          int32_t spread = 7) {
  std::vector<TrainingRow> rows;
  for (int32_t r = 0; r < count; ++r) {
    TrainingRow row;
    for (int32_t i = 0; i < shortest + r % spread; ++i) {
      row.ids.push_back((salt + r * 19 + i * 23) % 67);
      row.loss_mask.push_back(i >= 2 ? 1 : 0);
    }
    rows.push_back(row);
  }
  return rows;
}

// The same after a system prompt that all have, of ten tokens without loss.
inline std::vector<TrainingRow> AfterOnePrompt(std::vector<TrainingRow> rows) {
  const std::vector<int32_t> prompt = {3, 1, 4, 1, 5, 9, 2, 6, 5, 35};
  for (TrainingRow& row : rows) {
    row.ids.insert(row.ids.begin(), prompt.begin(), prompt.end());
    row.loss_mask.insert(row.loss_mask.begin(), prompt.size(), 0);
  }
  return rows;
}

}  // namespace wardtune::testing

#endif  // WARDTUNE_WORKER_TRAINING_TESTING_TOKEN_ROWS_H_
