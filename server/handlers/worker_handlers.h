// WorkerService: leases, inputs and results.
//
// A piece of work is named like a fine-tuning job, `tenants/{tenant}/fineTuningJobs/{job}`; the
// training of a security vector and an audit have such a name under the provider's tenant. Every
// call but LeaseJob is fenced: the store answers FAILED_PRECONDITION with LEASE_LOST to any attempt
// but the current one. Thread safety: re-entrant functions; see handler_context.h.
#ifndef WARDTUNE_SERVER_HANDLERS_WORKER_HANDLERS_H_
#define WARDTUNE_SERVER_HANDLERS_WORKER_HANDLERS_H_

#include <memory>

#include "absl/status/statusor.h"
#include "server/handlers/handler_context.h"
#include "server/rpc/call_runner.h"
#include "server/rpc/caller.h"
#include "server/rpc/stream_reactors.h"
#include "wardtune/v1/worker_service.pb.h"

namespace wardtune {

// In lease_job_handler.cc. Answers when there is work or when `wait` is over, without holding a
// thread in between. `request` and `response` must live until `done` is called;
// `still_there` tells whether the worker is.
void LeaseJob(HandlerContext& context, CallRunner& runner, const v1::LeaseJobRequest& request,
              v1::LeaseJobResponse& response, absl::AnyInvocable<bool() const> still_there,
              CallRunner::Done done);

absl::StatusOr<v1::HeartbeatResponse> Heartbeat(HandlerContext& context, const Caller& caller,
                                                const v1::HeartbeatRequest& request);
// What the gate would say now; the result itself is judged when the job ends.
absl::StatusOr<v1::JudgeScoresResponse> JudgeScores(HandlerContext& context, const Caller& caller,
                                                    const v1::JudgeScoresRequest& request);
absl::StatusOr<v1::FailJobResponse> FailJob(HandlerContext& context, const Caller& caller,
                                            const v1::FailJobRequest& request);
absl::StatusOr<std::unique_ptr<SendingCall<v1::FetchInputResponse>>> FetchInput(
    HandlerContext& context, const Caller& caller, const v1::FetchInputRequest& request);

// In upload_artifact_call.cc.
absl::StatusOr<
    std::unique_ptr<ReceivingCall<v1::UploadArtifactRequest, v1::UploadArtifactResponse>>>
UploadArtifact(HandlerContext& context, const Caller& caller);

// In complete_job_handler.cc: refuses a result that does not prove its protection.
absl::StatusOr<v1::CompleteJobResponse> CompleteJob(HandlerContext& context, const Caller& caller,
                                                    const v1::CompleteJobRequest& request);

// The lease that `work` and `attempt` name.
// Errors: INVALID_ARGUMENT for a name of another form; FAILED_PRECONDITION with LEASE_LOST.
absl::StatusOr<LeaseRecord> FindLease(HandlerContext& context, const std::string& work,
                                      int32_t attempt);
// "preparing", "training" and so on.
std::string PhaseName(int32_t phase);

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_HANDLERS_WORKER_HANDLERS_H_
