// The loss of rows without training on them.
// Thread safety: pure functions.
#ifndef WARDTUNE_WORKER_TRAINING_ROW_LOSS_H_
#define WARDTUNE_WORKER_TRAINING_ROW_LOSS_H_

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/model/decoder.h"
#include "worker/training/training_row.h"

namespace wardtune {

struct RowLossOptions {
  // Tokens that go through the model at once.
  int64_t micro_batch_tokens = 2048;
  // Called with the number of finished rows; returning false ends the call with CANCELLED. May be
  // empty.
  std::function<bool(int64_t finished)> progress;
};

// Mean -log p of each row's supervised tokens, in nats; a row's loss does not depend on the others
// beyond rounding.
// Errors: INVALID_ARGUMENT naming the row: no supervised token, a token outside the vocabulary,
// more tokens than the model's context; CANCELLED; those of LibTorch.
absl::StatusOr<std::vector<double>> RowLosses(const DecoderModel& model, ActiveAdapters adapters,
                                              std::span<const TrainingRow> rows,
                                              const RowLossOptions& options = {});

// The loss of some successive supervised tokens.
struct SpanLoss {
  int64_t tokens = 0;
  double loss = 0.0;  // mean, nats per token
};

// The same for each run of supervised tokens of each row, which is a message to learn from, in
// their order. Errors: those of RowLosses.
absl::StatusOr<std::vector<std::vector<SpanLoss>>> SpanLosses(const DecoderModel& model,
                                                              ActiveAdapters adapters,
                                                              std::span<const TrainingRow> rows,
                                                              const RowLossOptions& options = {});

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_TRAINING_ROW_LOSS_H_
