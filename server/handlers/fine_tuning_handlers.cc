#include "server/handlers/fine_tuning_handlers.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/handlers/requests.h"
#include "server/handlers/resource_messages.h"
#include "server/resource_names.h"
#include "server/row_scan_check.h"

namespace wardtune {
namespace {

constexpr std::string_view kJobKind = "fine-tuning job";

std::string Plural(int64_t count, const std::string& noun) {
  return absl::StrCat(count, " ", noun, count == 1 ? "" : "s");
}

void FillQueue(const QueueStats& stats, std::optional<absl::Duration> median,
               v1::QueueStatus& queue) {
  const int64_t ahead = std::max<int64_t>(queue.position() - 1, 0);
  if (stats.alive_workers == 0) {
    queue.set_reason(absl::StrCat("waiting for a worker: ", Plural(ahead, "job"),
                                  " ahead, and no worker is alive"));
    return;
  }
  queue.set_reason(absl::StrCat("waiting for a worker: ", Plural(ahead, "job"), " ahead, ",
                                Plural(stats.alive_workers, "worker"), " alive"));
  if (!median.has_value()) return;
  const auto count = [&stats](JobState state) {
    const auto found = stats.jobs.find(state);
    return found == stats.jobs.end() ? int64_t{0} : found->second;
  };
  // An audit takes minutes where jobs take hours: its worker is as good as free.
  const int64_t busy =
      count(JobState::kRunning) + count(JobState::kCancelling) - stats.running_audits;
  const int64_t free = std::max<int64_t>(stats.alive_workers - busy, 0);
  // Jobs that must end before this one starts; the ones that run are half done on average.
  const int64_t must_end = ahead + 1 - free;
  const double jobs = must_end <= 0 ? 0.0 : static_cast<double>(must_end) - 0.5;
  *queue.mutable_estimated_wait() =
      ToProtoDuration(*median * (jobs / static_cast<double>(stats.alive_workers)));
}

}  // namespace

absl::StatusOr<v1::FineTuningJob> DescribeJob(HandlerContext& context, const JobRecord& record) {
  v1::FineTuningJob job = ToMessage(record);
  if (job.has_queue()) {
    WT_ASSIGN_OR_RETURN(const QueueStats stats, context.store.work().GetQueueStats());
    FillQueue(stats, context.running.MedianDuration(), *job.mutable_queue());
  }
  return job;
}

absl::StatusOr<v1::GetFineTuningJobResponse> GetFineTuningJob(
    HandlerContext& context, const Caller& caller, const v1::GetFineTuningJobRequest& request) {
  WT_ASSIGN_OR_RETURN(const std::string id, ParseOwnId(caller, kJobs, request.name(), "name"));
  WT_ASSIGN_OR_RETURN(const JobRecord record,
                      Named(kJobKind, context.store.jobs().GetJob(caller.tenant_id, id)));
  v1::GetFineTuningJobResponse response;
  WT_ASSIGN_OR_RETURN(*response.mutable_job(), DescribeJob(context, record));
  return response;
}

absl::StatusOr<v1::ListFineTuningJobsResponse> ListFineTuningJobs(
    HandlerContext& context, const Caller& caller, const v1::ListFineTuningJobsRequest& request) {
  std::optional<JobState> state;
  if (request.state() != v1::FineTuningJob::STATE_UNSPECIFIED) {
    if (!v1::FineTuningJob::State_IsValid(request.state())) {
      return InvalidField("state", "is unknown");
    }
    state = static_cast<JobState>(request.state());
  }
  WT_ASSIGN_OR_RETURN(const auto page,
                      context.store.jobs().ListJobs(caller.tenant_id, state, PageOf(request)));
  v1::ListFineTuningJobsResponse response;
  for (const JobRecord& record : page.items) {
    v1::FineTuningJob& job = *response.add_jobs();
    job = ToMessage(record);
    // A page of 1000 jobs with 1000 lines each would be past what clients receive.
    if (job.has_row_scan()) {
      job.mutable_row_scan()->clear_rows();
      job.mutable_row_scan()->clear_parts();
    }
  }
  response.set_next_page_token(page.next_page_token);
  return response;
}

absl::StatusOr<v1::CancelFineTuningJobResponse> CancelFineTuningJob(
    HandlerContext& context, const Caller& caller, const v1::CancelFineTuningJobRequest& request) {
  WT_RETURN_IF_ERROR(CheckRequestId(request.request_id()));
  WT_ASSIGN_OR_RETURN(const std::string id, ParseOwnId(caller, kJobs, request.name(), "name"));
  WT_ASSIGN_OR_RETURN(
      const Answer answer,
      Named(kJobKind, context.store.jobs().CancelJob(caller.tenant_id, id,
                                                     MakeRequestKey(caller, "CancelFineTuningJob",
                                                                    request.request_id(), request),
                                                     [](const JobRecord& record) {
                                                       v1::CancelFineTuningJobResponse response;
                                                       *response.mutable_job() = ToMessage(record);
                                                       return response.SerializeAsString();
                                                     })));
  auto response = ParseAnswer<v1::CancelFineTuningJobResponse>(answer);
  if (response.ok() && !answer.replayed &&
      response->job().state() == v1::FineTuningJob::STATE_CANCELLED) {
    context.metrics.RecordEnded(JobState::kCancelled, "");
    CountScannedRows(response->job().row_scan(), context.metrics);
  }
  return response;
}

}  // namespace wardtune
