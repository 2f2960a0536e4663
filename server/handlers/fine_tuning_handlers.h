// FineTuningService.
// Thread safety: re-entrant functions; see handler_context.h.
#ifndef WARDTUNE_SERVER_HANDLERS_FINE_TUNING_HANDLERS_H_
#define WARDTUNE_SERVER_HANDLERS_FINE_TUNING_HANDLERS_H_

#include <memory>

#include "absl/status/statusor.h"
#include "server/handlers/handler_context.h"
#include "server/rpc/caller.h"
#include "server/rpc/stream_reactors.h"
#include "wardtune/v1/fine_tuning_service.pb.h"

namespace wardtune {

// In create_fine_tuning_job_handler.cc: checks everything before anything is spent.
absl::StatusOr<v1::CreateFineTuningJobResponse> CreateFineTuningJob(
    HandlerContext& context, const Caller& caller, const v1::CreateFineTuningJobRequest& request);

absl::StatusOr<v1::GetFineTuningJobResponse> GetFineTuningJob(
    HandlerContext& context, const Caller& caller, const v1::GetFineTuningJobRequest& request);
absl::StatusOr<v1::ListFineTuningJobsResponse> ListFineTuningJobs(
    HandlerContext& context, const Caller& caller, const v1::ListFineTuningJobsRequest& request);
absl::StatusOr<v1::CancelFineTuningJobResponse> CancelFineTuningJob(
    HandlerContext& context, const Caller& caller, const v1::CancelFineTuningJobRequest& request);

// In watch_fine_tuning_job_call.cc: sends the events so far, then each new one when it happens, and
// ends after the event that ends the job.
absl::StatusOr<std::unique_ptr<SendingCall<v1::WatchFineTuningJobResponse>>> WatchFineTuningJob(
    HandlerContext& context, const Caller& caller, const v1::WatchFineTuningJobRequest& request);

// The job with its queue's reason and estimated wait.
absl::StatusOr<v1::FineTuningJob> DescribeJob(HandlerContext& context, const JobRecord& record);

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_HANDLERS_FINE_TUNING_HANDLERS_H_
