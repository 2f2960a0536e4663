#include "base/sha256.h"
#include "base/status_macros.h"
#include "server/audit_drift.h"
#include "server/handlers/adapter_audit_handlers.h"
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
  v1::SecurityVectorVersion parts;
  *parts.mutable_parts() = result.parts();
  stored.parts = parts.SerializeAsString();
  return stored;
}

// An audit uploads nothing: its result stands for itself.
std::string DigestOf(const v1::AuditResult& result) {
  return Sha256Hex(result.SerializeAsString());
}

absl::StatusOr<JobResult> AuditJobResult(const v1::AuditResult& result, const LeaseRecord& lease) {
  WT_RETURN_IF_ERROR(CheckAuditResult(result, lease));
  JobResult stored;
  stored.artifact_sha256 = DigestOf(result);
  AuditScore& score = stored.audit;
  score.report_base = result.safety_base().SerializeAsString();
  score.report = result.safety().SerializeAsString();
  score.suite_sha256 = result.safety().suite_sha256();
  score.judge_sha256 = result.safety().judge_sha256();
  score.sampling_sha256 = result.safety().sampling_sha256();
  score.judge = [result](const SafetyPolicyRecord& policy, const AdapterRecord& delivered) {
    v1::AdapterAudit audit =
        JudgeAudit(ToMessage(policy), ParseStored<v1::SafetyReport>(delivered.safety_before),
                   ParseStored<v1::SafetyReport>(delivered.safety_after), result);
    audit.set_base_sha256(result.base_sha256());
    audit.set_scored_base_sha256(result.scored_base_sha256());
    return AuditScore::Verdict{audit.state() == v1::AdapterAudit::STATE_DRIFTED,
                               audit.SerializeAsString()};
  };
  return stored;
}

absl::StatusOr<JobResult> ResultOf(HandlerContext& context, const v1::CompleteJobRequest& request,
                                   const LeaseRecord& lease) {
  switch (lease.job.kind) {
    case JobKind::kFineTuning:
      if (!request.has_fine_tuning()) break;
      return FineTuningJobResult(context, request.fine_tuning(), lease);
    case JobKind::kSecurityVector:
      if (!request.has_security_vector()) break;
      return SecurityVectorJobResult(request.security_vector(), lease);
    case JobKind::kAudit:
      if (!request.has_audit()) break;
      return AuditJobResult(request.audit(), lease);
  }
  return InvalidField("result", "is not of the lease's kind");
}

std::string ArtifactOf(const v1::CompleteJobRequest& request) {
  if (request.has_fine_tuning()) return request.fine_tuning().adapter_sha256();
  if (request.has_audit()) return DigestOf(request.audit());
  return request.security_vector().artifact_sha256();
}

absl::StatusOr<bool> HasEndedSo(HandlerContext& context, const v1::CompleteJobRequest& request) {
  WT_ASSIGN_OR_RETURN(const TenantAndId name, ParseTenantResource(kJobs, request.work(), "work"));
  return context.store.work().EndedWith(name.tenant, name.id, request.attempt(),
                                        ArtifactOf(request));
}

void RecordRates(HandlerContext& context, const char* when, const v1::SafetyReport& report) {
  for (const v1::CategoryScore& score : report.categories()) {
    context.metrics.RecordHarmfulRate(when, score.category(),
                                      static_cast<double>(score.harmful()) / score.prompts());
  }
}

void Record(HandlerContext& context, const JobRecord& job) {
  context.metrics.RecordEnded(job.state, "");
  if (job.kind == JobKind::kAudit) {
    // Much shorter than a job, it must not count for the queue's estimates.
    context.running.Dropped(job.id);
    return TellOfAudit(job, context.metrics, context.log);
  }
  context.running.Finished(job.id);
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
  WT_ASSIGN_OR_RETURN(const JobResult result, ResultOf(context, request, *lease));
  WT_ASSIGN_OR_RETURN(const CompletedJob ended,
                      context.store.work().Complete(lease->job.id, request.attempt(), result));
  if (!ended.repeated) Record(context, ended.job);
  return v1::CompleteJobResponse();
}

}  // namespace wardtune
