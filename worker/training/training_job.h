// One LoRA job inside the training engine: its plan and its adapter with the optimizer. What goes
// through the model is decided by RunJointStep, which takes any number of jobs. Thread safety: one
// job belongs to one thread at a time.
#ifndef WARDTUNE_WORKER_TRAINING_TRAINING_JOB_H_
#define WARDTUNE_WORKER_TRAINING_TRAINING_JOB_H_

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "worker/training/lora_optimizer.h"
#include "worker/training/training_plan.h"

namespace wardtune {

class TrainingJob : public TrainingPlan {
 public:
  // Checks options and streams, and is ready for the first step.
  // Errors: those of Trainer::Create.
  static absl::StatusOr<std::unique_ptr<TrainingJob>> Create(const TrainerOptions& options,
                                                             std::vector<TrainingStream> streams);

  // REQUIRES: ValidateTraining accepted the options and the streams, ValidateLora the options.
  TrainingJob(const TrainerOptions& options, std::vector<TrainingStream> streams,
              LoraAdapter start);

  const LoraAdapter& adapter() const { return optimizer_.adapter(); }

  // Ends the step: loss_sums, of our rows, and stream_tokens, of all, are per stream. Errors:
  // ABORTED when a loss or a gradient is not finite, those of the exchange; the job is then as it
  // was before the step.
  absl::StatusOr<StepReport> Finish(const LoraGradients& gradients, std::vector<double> loss_sums,
                                    const std::vector<int64_t>& stream_tokens, int64_t tokens);

  // As Trainer::SaveState and Trainer::RestoreState.
  absl::StatusOr<std::string> SaveState() const;
  absl::Status RestoreState(std::string_view bytes);

 private:
  // What the bytes of the next steps depend on too, for micro-batches of `tokens`; nothing where
  // steps meet those of others, which promises no bytes.
  std::string MicroBatchOfBytes(int64_t tokens) const;
  // The micro-batch to go on with from a state that names `saved`: ours, or a smaller one, which
  // fits as well; nothing for another.
  std::optional<int64_t> MicroBatchAfter(const std::string& saved) const;

  const std::optional<LoraAdapter> anchor_;  // of the proximal term, if there is one
  LoraOptimizer optimizer_;
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_TRAINING_TRAINING_JOB_H_
