#include "worker/training/early_stopping.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/training/row_loss.h"
#include "worker/training/trainer_validation.h"

namespace wardtune {

absl::StatusOr<double> HeldOutLoss(const DecoderModel& model, ActiveAdapters adapters,
                                   std::span<const TrainingRow> rows, int64_t step) {
  WT_ASSIGN_OR_RETURN(const std::vector<double> losses, RowLosses(model, adapters, rows));
  double sum = 0.0;
  double tokens = 0.0;
  for (size_t i = 0; i < losses.size(); ++i) {
    const auto count = static_cast<double>(SupervisedTokens(rows[i]));
    sum += losses[i] * count;
    tokens += count;
  }
  const double loss = sum / tokens;
  if (!std::isfinite(loss)) {
    return absl::AbortedError(absl::StrCat("step ", step, ": the validation loss is not finite"));
  }
  return loss;
}

}  // namespace wardtune
