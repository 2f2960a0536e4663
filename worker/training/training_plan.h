// What a training run knows besides what it trains: its rows in their order, the teachers' answers,
// the schedule, its place in the run, the other processes. LoRA jobs and full-parameter training
// share it.
// Thread safety: one plan belongs to one thread at a time; const methods may run on several.
#ifndef WARDTUNE_WORKER_TRAINING_TRAINING_PLAN_H_
#define WARDTUNE_WORKER_TRAINING_TRAINING_PLAN_H_

#include <ATen/core/Tensor.h>

#include <span>
#include <string>
#include <vector>

#include "worker/training/row_order.h"
#include "worker/training/trainer.h"

namespace wardtune {

class TrainingPlan {
 public:
  // REQUIRES: ValidateTraining accepted the options and the streams.
  TrainingPlan(const TrainerOptions& options, std::vector<TrainingStream> streams);

  // A row of a step and where it comes from.
  struct StepRow {
    size_t stream;
    int64_t index;
    bool ours = true;  // false: another process of a data-parallel run takes it
  };

  const TrainerOptions& options() const { return options_; }
  const std::vector<TrainingStream>& streams() const { return streams_; }
  const std::string& fingerprint() const { return fingerprint_; }
  int64_t step() const { return step_; }
  int64_t total_steps() const { return total_steps_; }
  bool done() const { return step_ >= total_steps_; }

  const TrainingRow& RowOf(const StepRow& row) const {
    return streams_[row.stream].rows[row.index];
  }
  int64_t SupervisedIn(const StepRow& row) const { return supervised_[row.stream][row.index]; }
  const ModelWeights& WeightsOf(size_t stream) const { return *streams_[stream].model.weights(); }

  // The rows of the next step, those of stream 0 first; the same at every process.
  std::vector<StepRow> RowsOfStep();

  // Of streams that are compared with the base: what it says at the row's supervised positions,
  // [tokens, hidden]. Computed once, in a fixed order, so that the numbers do not depend on the
  // step at which a run resumes, and for the rows that the run comes to.
  void PrepareTeachers();

  // Summed loss of rows of one stream, which lie at `offsets` of the residual stream x
  // [tokens, hidden]; their rows of d_x become the gradient of stream weight * loss /
  // `stream_tokens`. `weights` are those that x was computed with.
  double RowsLoss(const ModelWeights& weights, std::span<const StepRow> rows,
                  std::span<const int64_t> offsets, int64_t stream_tokens, const at::Tensor& x,
                  at::Tensor& d_x) const;

  // With an exchange: FAILED_PRECONDITION unless all processes train the same.
  absl::Status CheckSameEverywhere() const;
  // The mean of what the processes measured, which may differ in the last bits where they have
  // other processors: all must go on from one number. Errors: those of the exchange.
  absl::StatusOr<double> AgreeOn(double measured) const;
  // Adds up the processes' losses, per stream, after making sure that all stand at the same step.
  absl::Status AddUpLosses(std::vector<double>& loss_sums) const;

  // The report of the step that is under way. Errors: ABORTED when a loss or the norm is not
  // finite.
  absl::StatusOr<StepReport> Report(const std::vector<double>& loss_sums,
                                    const std::vector<int64_t>& stream_tokens, int64_t tokens,
                                    double grad_norm) const;
  // The step that was under way is over.
  void Advance() { ++step_; }

 protected:
  void GoTo(int64_t step) { step_ = step; }
  void LowerMicroBatch(int64_t tokens) { options_.micro_batch_tokens = tokens; }

 private:
  // The rows of a stream that come in some step of the run, in their order.
  std::vector<int64_t> RowsOfRun(size_t stream);
  void PrepareTeachersOf(size_t stream, std::span<const int64_t> rows);
  // Marks the rows that other processes take.
  void DealToProcesses(std::vector<StepRow>& rows) const;

  TrainerOptions options_;
  const std::vector<TrainingStream> streams_;
  const std::string fingerprint_;
  std::vector<std::vector<int64_t>> supervised_;  // [stream][row] tokens
  std::vector<std::vector<at::Tensor>> teacher_;  // [stream][row], undefined where not needed
  std::vector<RowOrder> orders_;
  int64_t steps_per_epoch_ = 0;
  int64_t total_steps_ = 0;
  int64_t step_ = 0;
};

// The positions of a row whose next token is supervised, counted from `offset`; `targets` receives
// those tokens when it is not null.
void AppendSupervised(const TrainingRow& row, int64_t offset, std::vector<int64_t>& positions,
                      std::vector<int64_t>* targets);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_TRAINING_TRAINING_PLAN_H_
