#include "worker/agent/audit_run.h"

#include <string>
#include <utility>

#include "base/status_macros.h"
#include "worker/agent/adapter_export.h"
#include "worker/agent/job_error.h"
#include "worker/agent/safety_messages.h"

namespace wardtune {

absl::Status AuditRun::Run() {
  WT_RETURN_IF_ERROR(Prepare());
  WT_RETURN_IF_ERROR(Score());
  v1::CompleteJobRequest request;
  *request.mutable_audit() = std::move(result_);
  return attempt_.Complete(std::move(request));
}

absl::Status AuditRun::Prepare() {
  attempt_.StartPhase(v1::FineTuningJob::PHASE_PREPARING, 0, 5);
  WT_ASSIGN_OR_RETURN(const std::string tar,
                      attempt_.Fetch(v1::WorkInput::KIND_ADAPTER, kInputMissing));
  WT_ASSIGN_OR_RETURN(base_, LoadBaseModel(attempt_, environment_.base_models));
  WT_ASSIGN_OR_RETURN(safety_, FetchSafetyInputs(attempt_, *base_));
  auto adapter = ParseAdapterTar(tar, base_->model.config());
  if (!adapter.ok()) return WithJobReason(kInputInvalid, adapter.status());
  adapter_ = *std::move(adapter);
  return attempt_.GoOn();
}

absl::Status AuditRun::Score() {
  attempt_.StartPhase(v1::FineTuningJob::PHASE_SCORING_BASE, 5, 50);
  WT_ASSIGN_OR_RETURN(const SafetyResult base, ScoreBase(environment_, attempt_, *base_, safety_));
  *result_.mutable_safety_base() = ToMessage(base);
  WT_RETURN_IF_ERROR(attempt_.GoOn());
  attempt_.StartPhase(v1::FineTuningJob::PHASE_SCORING_RESULT, 50, 100);
  WT_ASSIGN_OR_RETURN(const SafetyResult score,
                      ScoreAdapter(environment_, attempt_, *base_, safety_, *adapter_));
  *result_.mutable_safety() = ToMessage(score);
  return attempt_.GoOn();
}

}  // namespace wardtune
