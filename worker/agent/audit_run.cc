#include "worker/agent/audit_run.h"

#include <utility>

#include "base/status_macros.h"
#include "worker/agent/delivered_adapter.h"
#include "worker/agent/job_error.h"
#include "worker/agent/safety_messages.h"
#include "worker/agent/training_settings.h"

namespace wardtune {

absl::Status AuditRun::Run() {
  WT_RETURN_IF_ERROR(Prepare());
  WT_RETURN_IF_ERROR(Score());
  WT_RETURN_IF_ERROR(NameWhatWasScored());
  v1::CompleteJobRequest request;
  *request.mutable_audit() = std::move(result_);
  return attempt_.Complete(std::move(request));
}

absl::Status AuditRun::Prepare() {
  attempt_.StartPhase(v1::FineTuningJob::PHASE_PREPARING, 0, 5);
  WT_ASSIGN_OR_RETURN(base_, LoadBaseModel(attempt_, environment_.base_models));
  const v1::AuditWork& work = attempt_.lease().audit();
  if (IsFullParameter(work.hyperparameters())) {
    WT_ASSIGN_OR_RETURN(
        model_, FetchDeliveredModel(attempt_, v1::WorkInput::KIND_ADAPTER, work.adapter(), *base_));
  } else {
    WT_ASSIGN_OR_RETURN(adapter_,
                        FetchDeliveredAdapter(attempt_, v1::WorkInput::KIND_ADAPTER, work.adapter(),
                                              work.hyperparameters(), *base_));
  }
  WT_ASSIGN_OR_RETURN(safety_, FetchSafetyInputs(attempt_, *base_, environment_.sampling));
  return attempt_.GoOn();
}

absl::Status AuditRun::Score() {
  attempt_.StartPhase(v1::FineTuningJob::PHASE_SCORING_BASE, 5, 50);
  WT_ASSIGN_OR_RETURN(const SafetyResult base, ScoreBase(environment_, attempt_, *base_, safety_));
  *result_.mutable_safety_base() = ToMessage(base);
  WT_RETURN_IF_ERROR(attempt_.GoOn());
  attempt_.StartPhase(v1::FineTuningJob::PHASE_SCORING_RESULT, 50, 100);
  WT_ASSIGN_OR_RETURN(const SafetyResult score,
                      model_ ? ScoreModel(environment_, attempt_, *base_, safety_, *model_)
                             : ScoreAdapter(environment_, attempt_, *base_, safety_, *adapter_));
  *result_.mutable_safety() = ToMessage(score);
  return attempt_.GoOn();
}

absl::Status AuditRun::NameWhatWasScored() {
  result_.set_base_sha256(base_->folder_sha256);
  WT_ASSIGN_OR_RETURN(*result_.mutable_scored_base_sha256(), DigestOfScoredBase(*base_));
  // A model's was compared with its file when it was fetched.
  result_.set_adapter_sha256(model_ ? attempt_.lease().audit().adapter().sha256()
                                    : AdapterDigest(*adapter_));
  return absl::OkStatus();
}

}  // namespace wardtune
