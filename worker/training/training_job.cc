#include "worker/training/training_job.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/model/torch_boundary.h"
#include "worker/training/gradient_exchange.h"
#include "worker/training/trainer_validation.h"

namespace wardtune {

absl::StatusOr<std::unique_ptr<TrainingJob>> TrainingJob::Create(
    const TrainerOptions& options, std::vector<TrainingStream> streams) {
  WT_RETURN_IF_ERROR(ValidateTraining(options, streams));
  WT_RETURN_IF_ERROR(ValidateLora(options, streams[0].model.config()));
  LoraAdapter start;
  if (options.start) {
    start = *options.start;
  } else {
    WT_ASSIGN_OR_RETURN(start, InitLora(streams[0].model.config(), options.lora, options.seed));
  }
  return AtTorchBoundary(
      "preparing training", [&]() -> absl::StatusOr<std::unique_ptr<TrainingJob>> {
        auto job = std::make_unique<TrainingJob>(options, std::move(streams), std::move(start));
        WT_RETURN_IF_ERROR(job->CheckSameEverywhere());
        job->PrepareTeachers();
        return job;
      });
}

TrainingJob::TrainingJob(const TrainerOptions& options, std::vector<TrainingStream> streams,
                         LoraAdapter start)
    : TrainingPlan(options, std::move(streams)),
      anchor_(options.proximal_weight > 0.0 ? std::optional(start) : std::nullopt),
      optimizer_(this->streams()[0].model.config(), std::move(start),
                 {options.beta1, options.beta2, options.epsilon, options.weight_decay}) {}

absl::StatusOr<StepReport> TrainingJob::Finish(const LoraGradients& gradients,
                                               std::vector<double> loss_sums,
                                               const std::vector<int64_t>& stream_tokens,
                                               int64_t tokens) {
  optimizer_.SetGradients(gradients);
  WT_RETURN_IF_ERROR(AddUpLosses(loss_sums));
  if (options().exchange != nullptr) {
    WT_RETURN_IF_ERROR(options().exchange->Sum(optimizer_.gradients()));
  }
  if (anchor_) optimizer_.AddProximal(*anchor_, options().proximal_weight);
  WT_ASSIGN_OR_RETURN(StepReport report,
                      Report(loss_sums, stream_tokens, tokens, optimizer_.MeasureNorm()));
  optimizer_.Apply(report.step, report.learning_rate, options().max_grad_norm);
  Advance();
  return report;
}

std::string TrainingJob::MicroBatchOfBytes(int64_t tokens) const {
  if (options().step_runner != nullptr) return "";
  return absl::StrCat(tokens, " tokens", options().share_prefixes ? ", prefixes shared" : "");
}

std::optional<int64_t> TrainingJob::MicroBatchAfter(const std::string& saved) const {
  const int64_t ours = options().micro_batch_tokens;
  if (saved.empty() || MicroBatchOfBytes(ours).empty()) return ours;
  int64_t named = 0;
  if (!absl::SimpleAtoi(saved.substr(0, saved.find(' ')), &named)) return std::nullopt;
  if (named < 1 || named > ours || saved != MicroBatchOfBytes(named)) return std::nullopt;
  return named;
}

absl::StatusOr<std::string> TrainingJob::SaveState() const {
  return optimizer_.Save({{"step", absl::StrCat(this->step())},
                          {"fingerprint", fingerprint()},
                          {"micro_batch", MicroBatchOfBytes(options().micro_batch_tokens)}});
}

absl::Status TrainingJob::RestoreState(std::string_view bytes) {
  int64_t step = 0;
  int64_t micro_batch_tokens = options().micro_batch_tokens;
  WT_RETURN_IF_ERROR(optimizer_.Restore(
      bytes, [&](const std::map<std::string, std::string>& metadata) -> absl::Status {
        const auto saved_step = metadata.find("step");
        const auto saved_from = metadata.find("fingerprint");
        if (saved_step == metadata.end() || saved_from == metadata.end() ||
            !absl::SimpleAtoi(saved_step->second, &step) || step < 0 || step > total_steps()) {
          return absl::InvalidArgumentError("checkpoint: metadata is missing or damaged");
        }
        if (saved_from->second != fingerprint()) {
          return absl::FailedPreconditionError(
              "checkpoint: was made with other options, rows or weights");
        }
        const auto micro_batch = metadata.find("micro_batch");
        if (micro_batch == metadata.end()) return absl::OkStatus();
        const std::optional<int64_t> tokens = MicroBatchAfter(micro_batch->second);
        if (!tokens) {
          return absl::FailedPreconditionError(
              absl::StrCat("checkpoint: was made with micro-batches of ", micro_batch->second));
        }
        micro_batch_tokens = *tokens;
        return absl::OkStatus();
      }));
  if (micro_batch_tokens != options().micro_batch_tokens) {
    LowerMicroBatch(micro_batch_tokens);
    // What the base says of rows depends in the last bits on how they are packed.
    WT_RETURN_IF_ERROR(AtTorchBoundary("preparing training", [&] {
      PrepareTeachers();
      return absl::OkStatus();
    }));
  }
  GoTo(step);
  return absl::OkStatus();
}

}  // namespace wardtune
