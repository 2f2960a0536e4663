#include "bench/unlearnable/lisa.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "bench/training_run.h"
#include "worker/model/seeded_random.h"
#include "worker/training/row_order.h"

namespace wardtune {
namespace {

// One side's rows, dealt out turn by turn.
class Turns {
 public:
  Turns(const TrainingStream& stream, const TrainerOptions& options, uint64_t number)
      : stream_(stream),
        order_(MixSeed(options.seed, number), static_cast<int64_t>(stream.rows.size()),
               options.shuffle) {}

  TrainingStream Next(int64_t steps) {
    TrainingStream turn = stream_;
    turn.rows.clear();
    for (int64_t i = 0; i < steps * stream_.rows_per_step; ++i) {
      turn.rows.push_back(stream_.rows[order_.At(taken_++)]);
    }
    return turn;
  }

 private:
  const TrainingStream& stream_;
  RowOrder order_;
  int64_t taken_ = 0;
};

}  // namespace

absl::StatusOr<LoraAdapter> TrainLisa(const TrainerOptions& options, const TrainingStream& customer,
                                      const TrainingStream& safety, const LisaOptions& lisa,
                                      Clock* clock) {
  for (const TrainingStream* stream : {&customer, &safety}) {
    if (stream->rows.empty() || stream->rows_per_step < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("stream '", stream->name, "': has no row, or none in a step"));
    }
  }
  if (lisa.customer_steps < 1 || lisa.safety_steps < 1) {
    return absl::InvalidArgumentError("steps of a turn: must be at least 1");
  }
  const auto rows = static_cast<int64_t>(customer.rows.size());
  const int64_t total =
      options.epochs * ((rows + customer.rows_per_step - 1) / customer.rows_per_step);
  Turns customers(customer, options, 1);
  Turns safeties(safety, options, 2);
  std::optional<LoraAdapter> adapter = options.start;
  const auto run = [&](TrainingStream turn, int64_t steps, double rate) -> absl::Status {
    TrainerOptions own = options;
    own.start = adapter;
    own.max_steps = steps;
    own.shuffle = false;
    own.schedule = {.peak = rate, .decay = LrDecay::kConstant, .warmup_ratio = 0.0};
    own.proximal_weight = lisa.proximal_weight;
    WT_ASSIGN_OR_RETURN(auto trainer, Trainer::Create(own, {std::move(turn)}, clock));
    WT_RETURN_IF_ERROR(RunToEnd(*trainer, "lisa"));
    adapter = trainer->Adapter();
    return absl::OkStatus();
  };
  for (int64_t done = 0; done < total; done += lisa.customer_steps) {
    const int64_t steps = std::min(lisa.customer_steps, total - done);
    const double rate = LearningRateAt(options.schedule, done + steps / 2, total);
    WT_RETURN_IF_ERROR(run(customers.Next(steps), steps, rate));
    WT_RETURN_IF_ERROR(run(safeties.Next(lisa.safety_steps), lisa.safety_steps, rate));
  }
  return *std::move(adapter);
}

}  // namespace wardtune
