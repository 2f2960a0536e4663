// Measures the loss on rows that are never trained on, keeps the best results, and says when more
// training is no use. The same for adapters and for the weights themselves.
// Thread safety: one object belongs to one thread at a time.
#ifndef WARDTUNE_WORKER_TRAINING_EARLY_STOPPING_H_
#define WARDTUNE_WORKER_TRAINING_EARLY_STOPPING_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/model/adapter.h"
#include "worker/model/decoder.h"
#include "worker/training/training_row.h"

namespace wardtune {

inline constexpr int64_t kMaxKeptResults = 8;

struct ValidationOptions {
  // Rows that are held out; empty: no validation.
  std::vector<TrainingRow> rows;
  // Steps from one measurement to the next; the last step is always measured.
  int64_t every_steps = 1;
  // Measurements in a row without a better loss after which training ends; 0: never.
  int64_t patience = 0;
  // Results that are kept, those of the lowest loss: 1 to kMaxKeptResults.
  int64_t keep = 1;
  // Asked while a measurement runs; false ends the step with CANCELLED. May be empty.
  std::function<bool()> go_on;

  bool active() const { return !rows.empty(); }
  // Most results that a run holds beside the one it trains.
  int64_t results_held() const { return active() ? keep : 0; }
};

// An adapter at one step of a run.
struct AdapterAtStep {
  LoraAdapter adapter;
  int64_t step = 0;
  std::optional<double> validation_loss;  // HeldOutLoss
};

// A model at one step of a run that trains its weights.
struct ModelAtStep {
  DecoderModel model;
  int64_t step = 0;
  std::optional<double> validation_loss;  // HeldOutLoss
};

// Mean over the supervised tokens of all of the options' rows, in nats, after `step`, with at most
// `micro_batch_tokens` going through the model at once.
// Errors: those of RowLosses; ABORTED, naming the step, when it is not finite.
absl::StatusOr<double> HeldOutLoss(const DecoderModel& model, ActiveAdapters adapters,
                                   const ValidationOptions& options, int64_t micro_batch_tokens,
                                   int64_t step);

// `Result` is AdapterAtStep or ModelAtStep.
template <typename Result>
class EarlyStopping {
 public:
  // What a run goes on from.
  struct State {
    std::vector<Result> kept;  // each with its loss
    int64_t misses = 0;
  };

  // REQUIRES: ValidateTraining accepted the options.
  explicit EarlyStopping(ValidationOptions options) : options_(std::move(options)) {}

  const ValidationOptions& options() const { return options_; }
  bool IsDue(int64_t step, int64_t total_steps) const {
    return step % options_.every_steps == 0 || step == total_steps;
  }

  // Takes the loss of a measurement into account: true when its result is among the best, and Keep
  // is to follow. The one that it replaces is let go first, so that no more than `keep` exist.
  bool Add(double loss) {
    state_.misses = best() == nullptr || loss < *best()->validation_loss ? 0 : state_.misses + 1;
    if (PlaceOf(loss) >= static_cast<size_t>(options_.keep)) return false;
    if (std::ssize(state_.kept) == options_.keep) state_.kept.pop_back();
    return true;
  }
  void Keep(Result result) {
    const size_t place = PlaceOf(*result.validation_loss);
    state_.kept.insert(state_.kept.begin() + static_cast<std::ptrdiff_t>(place), std::move(result));
  }

  // The best first; of equal ones the earlier. Empty before the first measurement.
  const std::vector<Result>& kept() const { return state_.kept; }
  const Result* best() const { return state_.kept.empty() ? nullptr : &state_.kept.front(); }
  bool ShouldStop() const { return options_.patience > 0 && state_.misses >= options_.patience; }

  const State& state() const { return state_; }
  void Restore(State state) { state_ = std::move(state); }

 private:
  size_t PlaceOf(double loss) const {
    const auto behind = [](double value, const Result& kept) {
      return value < *kept.validation_loss;
    };
    return static_cast<size_t>(
        std::upper_bound(state_.kept.begin(), state_.kept.end(), loss, behind) -
        state_.kept.begin());
  }

  const ValidationOptions options_;
  State state_;
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_TRAINING_EARLY_STOPPING_H_
