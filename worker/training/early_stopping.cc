#include "worker/training/early_stopping.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/training/row_loss.h"
#include "worker/training/trainer_validation.h"

namespace wardtune {

absl::StatusOr<double> HeldOutLoss(const DecoderModel& model, ActiveAdapters adapters,
                                   const ValidationOptions& options, int64_t micro_batch_tokens,
                                   int64_t step) {
  RowLossOptions how{.micro_batch_tokens = micro_batch_tokens};
  if (options.go_on) how.progress = [&](int64_t) { return options.go_on(); };
  const std::vector<TrainingRow>& rows = options.rows;
  WT_ASSIGN_OR_RETURN(const std::vector<double> losses, RowLosses(model, adapters, rows, how));
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
