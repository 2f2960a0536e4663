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

}  // namespace wardtune::testing

#endif  // WARDTUNE_WORKER_TRAINING_TESTING_TOKEN_ROWS_H_
