#include "base/status_macros.h"
#include "server/handlers/requests.h"
#include "server/handlers/resource_messages.h"
#include "server/handlers/worker_handlers.h"
#include "server/protection_check.h"
#include "server/resource_names.h"
#include "server/row_scan_check.h"
#include "server/safety_gate.h"

namespace wardtune {
namespace {

absl::StatusOr<JobResult> FineTuningJobResult(HandlerContext& context,
                                              const v1::FineTuningResult& result,
                                              const LeaseRecord& lease) {
  WT_RETURN_IF_ERROR(CheckFineTuningResult(result, lease, context.limits));
  JobResult stored;
  stored.artifact_sha256 = result.adapter_sha256();
  stored.progress = result.progress().SerializeAsString();
  stored.safety_before = result.safety_before().SerializeAsString();
  if (result.has_safety_start()) {
    stored.safety_start = result.safety_start().SerializeAsString();
  }
  stored.safety_after = result.safety_after().SerializeAsString();
  stored.proof = result.proof().SerializeAsString();
  if (!result.checkpoints().empty()) {
    v1::FineTuningJob scores;
    *scores.mutable_checkpoints() = result.checkpoints();
    stored.checkpoint_scores = scores.SerializeAsString();
  }
  WT_ASSIGN_OR_RETURN(stored.row_scan, CheckRowScan(result.row_scan(), lease));
  // Of a chained job, too, by the rise over the base: small ones over each start would add up.
  stored.judge = [before = result.safety_before(),
                  after = result.safety_after()](const SafetyPolicyRecord& policy) {
    const v1::SafetyGate gate = JudgeResult(ToMessage(policy), before, after);
    return GateRecord{static_cast<GateState>(gate.state()), gate.SerializeAsString()};
  };
  return stored;
}

absl::StatusOr<JobResult> SecurityVectorJobResult(const v1::SecurityVectorResult& result,
                                                  const LeaseRecord& lease) {
  WT_RETURN_IF_ERROR(CheckSecurityVectorResult(result, lease));
  JobResult stored;
  stored.artifact_sha256 = result.artifact_sha256();
  stored.plain_sha256 = result.plain_sha256();
  stored.card = result.card().SerializeAsString();
  stored.categories.assign(result.categories().begin(), result.categories().end());
  return stored;
}

absl::StatusOr<bool> HasEndedSo(HandlerContext& context, const v1::CompleteJobRequest& request) {
  WT_ASSIGN_OR_RETURN(const TenantAndId name, ParseTenantResource(kJobs, request.work(), "work"));
  return context.store.work().EndedWith(name.tenant, name.id, request.attempt(),
                                        request.has_fine_tuning()
                                            ? request.fine_tuning().adapter_sha256()
                                            : request.security_vector().artifact_sha256());
}

void RecordRates(HandlerContext& context, const char* when, const v1::SafetyReport& report) {
  for (const v1::CategoryScore& score : report.categories()) {
    context.metrics.RecordHarmfulRate(when, score.category(),
                                      static_cast<double>(score.harmful()) / score.prompts());
  }
}

void Record(HandlerContext& context, const JobRecord& job) {
  context.running.Finished(job.id);
  context.metrics.RecordEnded(job.state, "");
  CountScannedRows(ParseStored<v1::RowScanReport>(job.row_scan), context.metrics);
  if (job.state == JobState::kSucceeded) {
    const auto estimate = ParseStored<v1::JobEstimate>(job.estimate);
    const auto spec = ParseStored<v1::Hyperparameters>(job.spec);
    if (job.kind == JobKind::kFineTuning) {
      context.metrics.AddTokens(estimate.tokens_per_epoch() * spec.epochs());
      const bool quarantined = job.gate.state == GateState::kQuarantined;
      context.metrics.RecordGate(quarantined ? "quarantined" : "passed");
      RecordRates(context, "before", ParseStored<v1::SafetyReport>(job.safety_before));
      RecordRates(context, "after", ParseStored<v1::SafetyReport>(job.safety_after));
    }
  }
}

}  // namespace

absl::StatusOr<v1::CompleteJobResponse> CompleteJob(HandlerContext& context, const Caller&,
                                                    const v1::CompleteJobRequest& request) {
  const absl::StatusOr<LeaseRecord> lease = FindLease(context, request.work(), request.attempt());
  if (absl::IsFailedPrecondition(lease.status())) {
    // The job may have ended with this very result and the answer been lost. Nothing is stored
    // here: without a lease there is nothing to check the proof against.
    WT_ASSIGN_OR_RETURN(const bool ended, HasEndedSo(context, request));
    if (ended) return v1::CompleteJobResponse();
  }
  WT_RETURN_IF_ERROR(lease.status());
  const bool fine_tuning = lease->job.kind == JobKind::kFineTuning;
  if (fine_tuning != request.has_fine_tuning() || fine_tuning == request.has_security_vector()) {
    return InvalidField("result", "is not of the lease's kind");
  }
  WT_ASSIGN_OR_RETURN(const JobResult result,
                      fine_tuning ? FineTuningJobResult(context, request.fine_tuning(), *lease)
                                  : SecurityVectorJobResult(request.security_vector(), *lease));
  WT_ASSIGN_OR_RETURN(const JobRecord job,
                      context.store.work().Complete(lease->job.id, request.attempt(), result));
  Record(context, job);
  return v1::CompleteJobResponse();
}

}  // namespace wardtune
