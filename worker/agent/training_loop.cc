#include "worker/agent/training_loop.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "worker/agent/job_error.h"

namespace wardtune {
namespace {

// An upload that takes longer is slow: then training goes on for so many times as long.
constexpr absl::Duration kQuickUpload = absl::Seconds(5);
constexpr int kTrainingAfterSlowUpload = 9;
// An upload that was long for another reason, such as a server that was away, holds up no more.
constexpr absl::Duration kLongestRest = absl::Minutes(10);

absl::Status Check(const TrainingHooks& hooks) {
  return hooks.check ? hooks.check() : absl::OkStatus();
}

absl::Status UploadCheckpoint(const Trainer& trainer, Attempt& attempt,
                              const TrainingHooks& hooks) {
  WT_RETURN_IF_ERROR(Check(hooks));
  WT_ASSIGN_OR_RETURN(std::string state, trainer.SaveState());
  if (hooks.seal) {
    WT_ASSIGN_OR_RETURN(state, hooks.seal(std::move(state)));
  }
  return attempt.Upload(v1::UploadArtifactRequest::KIND_CHECKPOINT, state, trainer.step()).status();
}

absl::Status RestoreFrom(std::string state, Trainer& trainer, const TrainingHooks& hooks) {
  if (hooks.open) {
    WT_ASSIGN_OR_RETURN(state, hooks.open(std::move(state)));
  }
  return trainer.RestoreState(state);
}

absl::Status RestoreCheckpoint(Trainer& trainer, Attempt& attempt, const TrainingHooks& hooks) {
  if (!attempt.HasInput(v1::WorkInput::KIND_CHECKPOINT)) return absl::OkStatus();
  auto state = attempt.Fetch(v1::WorkInput::KIND_CHECKPOINT, kInputMissing);
  WT_RETURN_IF_ERROR(attempt.GoOn());
  // What may be there at another try is no reason to train anew.
  const absl::StatusCode code = state.status().code();
  if (!state.ok() && code != absl::StatusCode::kNotFound && code != absl::StatusCode::kDataLoss) {
    return state.status();
  }
  const absl::Status status =
      state.ok() ? RestoreFrom(*std::move(state), trainer, hooks) : state.status();
  attempt.log().Write(status.ok() ? "resumed" : "checkpoint_unusable",
                      {{"work", attempt.lease().work()},
                       {"step", trainer.step()},
                       {"code", absl::StatusCodeToString(status.code())}});
  return absl::OkStatus();
}

template <typename AnyTrainer>
absl::StatusOr<StepReport> RunStep(AnyTrainer& trainer, Attempt& attempt) {
  absl::StatusOr<StepReport> report = trainer.Step();
  if (report.status().code() == absl::StatusCode::kAborted) {
    return WithJobReason(kLossNotFinite, report.status());
  }
  WT_RETURN_IF_ERROR(report.status());
  attempt.ReportStep(*report);
  return report;
}

}  // namespace

absl::Status RunTraining(Trainer& trainer, Attempt& attempt, const CheckpointPolicy& policy,
                         const TrainingHooks& hooks) {
  WT_RETURN_IF_ERROR(Check(hooks));
  WT_RETURN_IF_ERROR(RestoreCheckpoint(trainer, attempt, hooks));
  int64_t saved_step = trainer.step();
  absl::Duration saved_at = attempt.clock().Monotonic();
  absl::Duration rest;  // from uploads
  while (!trainer.done()) {
    const StopReason stop = attempt.stop_reason();
    if (stop == StopReason::kShutdown && trainer.step() > saved_step) {
      WT_RETURN_IF_ERROR(UploadCheckpoint(trainer, attempt, hooks));
    }
    if (stop != StopReason::kNone) return attempt.GoOn();
    WT_ASSIGN_OR_RETURN(const StepReport report, RunStep(trainer, attempt));
    if (trainer.validation_loss()) {
      attempt.ReportBest(trainer.adapter_step(), *trainer.validation_loss());
    }

    const absl::Duration now = attempt.clock().Monotonic();
    const bool due =
        (report.step - saved_step >= policy.every_steps || now - saved_at >= policy.every) &&
        now - saved_at >= rest;
    if (due && !trainer.done()) {
      WT_RETURN_IF_ERROR(UploadCheckpoint(trainer, attempt, hooks));
      saved_step = report.step;
      saved_at = attempt.clock().Monotonic();
      const absl::Duration took = saved_at - now;
      rest = took > kQuickUpload ? std::min(kTrainingAfterSlowUpload * took, kLongestRest)
                                 : absl::ZeroDuration();
    }
  }
  return Check(hooks);
}

absl::Status RunTraining(FullParameterTrainer& trainer, Attempt& attempt, ComputeTurns& turns,
                         const std::function<absl::Status()>& check) {
  WT_RETURN_IF_ERROR(check());
  while (!trainer.done()) {
    turns.Yield();
    WT_RETURN_IF_ERROR(attempt.GoOn());
    WT_RETURN_IF_ERROR(RunStep(trainer, attempt).status());
    if (const ModelAtStep* const best = trainer.best(); best != nullptr) {
      attempt.ReportBest(best->step, *best->validation_loss);
    }
  }
  return check();
}

}  // namespace wardtune
