// Measures the loss on rows that are never trained on, keeps the best adapters, and says when more
// training is no use.
// Thread safety: one object belongs to one thread at a time.
#ifndef WARDTUNE_WORKER_TRAINING_EARLY_STOPPING_H_
#define WARDTUNE_WORKER_TRAINING_EARLY_STOPPING_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/model/adapter.h"
#include "worker/model/decoder.h"
#include "worker/training/training_row.h"

namespace wardtune {

inline constexpr int64_t kMaxKeptAdapters = 8;

struct ValidationOptions {
  // Rows that are held out; empty: no validation.
  std::vector<TrainingRow> rows;
  // Steps from one measurement to the next; the last step is always measured.
  int64_t every_steps = 1;
  // Measurements in a row without a better loss after which training ends; 0: never.
  int64_t patience = 0;
  // Adapters that are kept, those of the lowest loss: 1 to kMaxKeptAdapters.
  int64_t keep = 1;
};

// An adapter at one step of a run.
struct AdapterAtStep {
  LoraAdapter adapter;
  int64_t step = 0;
  std::optional<double> validation_loss;  // mean over the held-out rows' supervised tokens, nats
};

class EarlyStopping {
 public:
  // `model` and `frozen`, which may be null, are those of the customer's stream. REQUIRES:
  // options.rows is not empty.
  EarlyStopping(ValidationOptions options, DecoderModel model,
                std::shared_ptr<const LoraAdapter> frozen);

  bool IsDue(int64_t step, int64_t total_steps) const;
  // The loss of the adapter after `step`. Errors: those of RowLosses; ABORTED when it is not
  // finite.
  absl::StatusOr<double> Measure(int64_t step, const LoraAdapter& adapter);

  // The best first; of equal ones the earlier. Empty before the first measurement.
  const std::vector<AdapterAtStep>& kept() const { return kept_; }
  bool ShouldStop() const { return options_.patience > 0 && misses_ >= options_.patience; }

  // Kept adapters and counters around the trainer's own state, as one safetensors file.
  absl::StatusOr<std::string> Wrap(const std::string& trainer_state) const;
  // Takes them up again and returns the trainer's state. Unchanged on error.
  // Errors: INVALID_ARGUMENT when the bytes are damaged; FAILED_PRECONDITION when they come from
  // other held-out rows or options.
  absl::StatusOr<std::string> Unwrap(std::string_view bytes);

 private:
  const ValidationOptions options_;
  const DecoderModel model_;
  const std::shared_ptr<const LoraAdapter> frozen_;
  const std::string fingerprint_;
  std::vector<AdapterAtStep> kept_;
  int64_t misses_ = 0;
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_TRAINING_EARLY_STOPPING_H_
