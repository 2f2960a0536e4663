#include "server/handlers/worker_handlers.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "server/handlers/adapter_audit_handlers.h"
#include "server/handlers/blob_download_call.h"
#include "server/handlers/requests.h"
#include "server/handlers/resource_messages.h"
#include "server/protection_check.h"
#include "server/resource_names.h"
#include "server/row_scan_check.h"
#include "server/safety_gate.h"
#include "storage/error_reason.h"

namespace wardtune {
namespace {

constexpr size_t kMaxErrorMessageBytes = 2048;

bool IsErrorCode(const std::string& code) {
  return !code.empty() && code.size() <= 64 && std::all_of(code.begin(), code.end(), [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  });
}

absl::Status LeaseLost() {
  return WithReason(absl::FailedPreconditionError(
                        "the lease was lost: another attempt holds the work, or it has ended"),
                    kReasonLeaseLost);
}

}  // namespace

std::string PhaseName(int32_t phase) {
  if (!v1::FineTuningJob::Phase_IsValid(phase) || phase == 0) return "";
  const std::string name =
      v1::FineTuningJob::Phase_Name(static_cast<v1::FineTuningJob::Phase>(phase));
  return absl::AsciiStrToLower(absl::StripPrefix(name, "PHASE_"));
}

absl::StatusOr<LeaseRecord> FindLease(HandlerContext& context, const std::string& work,
                                      int32_t attempt) {
  WT_ASSIGN_OR_RETURN(const TenantAndId name, ParseTenantResource(kJobs, work, "work"));
  WT_ASSIGN_OR_RETURN(LeaseRecord lease, context.store.work().GetLease(name.id, attempt));
  if (lease.job.tenant != name.tenant) return LeaseLost();
  return lease;
}

absl::StatusOr<v1::HeartbeatResponse> Heartbeat(HandlerContext& context, const Caller&,
                                                const v1::HeartbeatRequest& request) {
  WT_ASSIGN_OR_RETURN(const LeaseRecord lease,
                      FindLease(context, request.work(), request.attempt()));
  if (!v1::FineTuningJob::Phase_IsValid(request.phase())) {
    return InvalidField("phase", "is unknown");
  }
  HeartbeatReport report;
  report.phase = request.phase();
  if (request.has_progress()) report.progress = request.progress().SerializeAsString();
  if (request.has_safety_before()) {
    report.safety_before = request.safety_before().SerializeAsString();
  }
  WT_ASSIGN_OR_RETURN(report.row_scan, CheckRowScan(request.row_scan(), lease));
  // Before it is stored: a result that ends the job after this heartbeat is then told after it too.
  context.running.Heard(lease.job.id, PhaseName(request.phase()));
  const absl::StatusOr<JobRecord> job = context.store.work().Heartbeat(
      lease.job.id, request.attempt(), context.limits.lease_duration, report);
  if (absl::IsFailedPrecondition(job.status())) context.running.Dropped(lease.job.id);
  WT_RETURN_IF_ERROR(job.status());
  v1::HeartbeatResponse response;
  response.set_cancel_requested(job->state == JobState::kCancelling);
  *response.mutable_lease_duration() = ToProtoDuration(context.limits.lease_duration);
  return response;
}

absl::StatusOr<v1::JudgeScoresResponse> JudgeScores(HandlerContext& context, const Caller&,
                                                    const v1::JudgeScoresRequest& request) {
  WT_ASSIGN_OR_RETURN(const LeaseRecord lease,
                      FindLease(context, request.work(), request.attempt()));
  WT_RETURN_IF_ERROR(CheckScores(request.safety_before(), request.safety_after(), lease));
  WT_ASSIGN_OR_RETURN(const SafetyPolicyRecord policy, context.store.safety().GetSafetyPolicy(0));
  v1::JudgeScoresResponse response;
  *response.mutable_gate() =
      JudgeResult(ToMessage(policy), request.safety_before(), request.safety_after());
  return response;
}

absl::StatusOr<v1::FailJobResponse> FailJob(HandlerContext& context, const Caller&,
                                            const v1::FailJobRequest& request) {
  WT_ASSIGN_OR_RETURN(const LeaseRecord lease,
                      FindLease(context, request.work(), request.attempt()));
  if (!request.cancelled() && !IsErrorCode(request.error_code())) {
    return InvalidField("error_code", "must be 1 to 64 of A-Z, 0-9 and '_'");
  }
  if (request.error_message().size() > kMaxErrorMessageBytes) {
    return InvalidField("error_message", "must be at most 2048 bytes");
  }
  JobFailure failure;
  failure.error_code = request.error_code();
  failure.error_message = request.error_message();
  failure.retryable = request.retryable();
  failure.cancelled = request.cancelled();
  WT_ASSIGN_OR_RETURN(failure.row_scan, CheckRowScan(request.row_scan(), lease));
  WT_ASSIGN_OR_RETURN(const JobRecord job,
                      context.store.work().Fail(lease.job.id, request.attempt(), failure));
  context.running.Dropped(job.id);
  context.metrics.RecordEnded(job.state, job.error_code);
  TellOfAudit(job, context.metrics, context.log);
  if (IsFinal(job.state)) {
    CountScannedRows(ParseStored<v1::RowScanReport>(job.row_scan), context.metrics);
  }
  return v1::FailJobResponse();
}

absl::StatusOr<std::unique_ptr<SendingCall<v1::FetchInputResponse>>> FetchInput(
    HandlerContext& context, const Caller&, const v1::FetchInputRequest& request) {
  WT_ASSIGN_OR_RETURN(const LeaseRecord lease,
                      FindLease(context, request.work(), request.attempt()));
  for (const InputRecord& input : lease.inputs) {
    if (static_cast<int>(input.kind) == request.kind()) {
      return BlobDownloadCall<v1::FetchInputResponse>::Open(context.blobs, input.blob,
                                                            request.offset());
    }
  }
  return InvalidField("kind", "the lease has no such input");
}

}  // namespace wardtune
