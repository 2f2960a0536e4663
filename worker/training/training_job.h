// One job inside the training engine: its rows, its adapter with optimizer and schedule, its place
// in the run. What goes through the model is decided by RunJointStep, which takes any number of
// jobs. Thread safety: one job belongs to one thread at a time.
#ifndef WARDTUNE_WORKER_TRAINING_TRAINING_JOB_H_
#define WARDTUNE_WORKER_TRAINING_TRAINING_JOB_H_

#include <ATen/core/Tensor.h>

#include <string>
#include <string_view>
#include <vector>

#include "worker/training/lora_optimizer.h"
#include "worker/training/row_order.h"
#include "worker/training/trainer.h"

namespace wardtune {

class TrainingJob {
 public:
  // REQUIRES: ValidateTraining accepted the options and the streams.
  TrainingJob(const TrainerOptions& options, std::vector<TrainingStream> streams,
              LoraAdapter start);

  // A row of a step and where it comes from.
  struct StepRow {
    size_t stream;
    int64_t index;
    bool ours = true;  // false: another process of a data-parallel run takes it
  };

  const TrainerOptions& options() const { return options_; }
  const std::vector<TrainingStream>& streams() const { return streams_; }
  const LoraAdapter& adapter() const { return optimizer_.adapter(); }
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

  // KL streams only: what the base says at the row's supervised positions, [tokens, hidden].
  // Computed once, in a fixed order, so that the numbers do not depend on the step at which a run
  // resumes.
  void PrepareTeachers();
  bool HasTeacher(size_t stream) const { return !teacher_[stream].empty(); }
  const at::Tensor& TeacherOf(const StepRow& row) const { return teacher_[row.stream][row.index]; }

  // Ends the step: loss_sums, of our rows, and stream_tokens, of all, are per stream. Errors:
  // ABORTED when a loss or a gradient is not finite, those of the exchange; the job is then as it
  // was before the step.
  absl::StatusOr<StepReport> Finish(const LoraGradients& gradients, std::vector<double> loss_sums,
                                    const std::vector<int64_t>& stream_tokens, int64_t tokens);

  // As Trainer::SaveState and Trainer::RestoreState.
  absl::StatusOr<std::string> SaveState() const;
  absl::Status RestoreState(std::string_view bytes);

  // With an exchange: FAILED_PRECONDITION unless all processes train the same job.
  absl::Status CheckSameEverywhere() const;

 private:
  // Marks the rows that other processes take.
  void DealToProcesses(std::vector<StepRow>& rows) const;
  // Adds up what the processes computed.
  absl::Status AddUp(std::vector<double>& loss_sums);

  const TrainerOptions options_;
  const std::vector<TrainingStream> streams_;
  const std::string fingerprint_;
  LoraOptimizer optimizer_;
  std::vector<std::vector<int64_t>> supervised_;  // [stream][row] tokens
  std::vector<std::vector<at::Tensor>> teacher_;  // [stream][row]
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

#endif  // WARDTUNE_WORKER_TRAINING_TRAINING_JOB_H_
