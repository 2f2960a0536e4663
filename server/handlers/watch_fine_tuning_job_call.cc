#include <deque>
#include <optional>
#include <string>

#include "base/status_macros.h"
#include "server/handlers/fine_tuning_handlers.h"
#include "server/handlers/requests.h"
#include "server/handlers/resource_messages.h"
#include "server/resource_names.h"

namespace wardtune {
namespace {

constexpr size_t kEventsPerRead = 100;
// A watcher looks again at least this often, and so notices that its client left.
constexpr absl::Duration kLookAgainAfter = absl::Seconds(1);
constexpr absl::Duration kReadAgainAfter = absl::Seconds(10);

class WatchCall final : public SendingCall<v1::WatchFineTuningJobResponse> {
 public:
  WatchCall(HandlerContext& context, std::string tenant, std::string job, int64_t after_sequence)
      : context_(context),
        tenant_(std::move(tenant)),
        job_(std::move(job)),
        last_sequence_(after_sequence) {}

  absl::StatusOr<Step> Next(v1::WatchFineTuningJobResponse& message) override {
    if (pending_.empty()) {
      if (ended_) return Step::kEnd;
      if (NothingNew()) return Step::kWait;
      WT_RETURN_IF_ERROR(Read());
      if (pending_.empty()) return ended_ ? Step::kEnd : Step::kWait;
    }
    const JobEventRecord& event = pending_.front();
    last_sequence_ = event.sequence;
    ended_ = ended_ || IsFinal(event.state);
    *message.mutable_event() = ToMessage(event);
    pending_.pop_front();
    return Step::kMessage;
  }

  void WakeLater(absl::AnyInvocable<void()> wake) override {
    context_.waits.Wait(job_, generation_, kLookAgainAfter, std::move(wake));
  }

 private:
  // Notifications tell of every event; the database is asked without one, in case, but seldom.
  bool NothingNew() {
    return !more_ && read_at_.has_value() &&
           context_.clock.Monotonic() - *read_at_ < kReadAgainAfter &&
           context_.waits.Generation(job_) == generation_;
  }

  absl::Status Read() {
    generation_ = context_.waits.Generation(job_);
    read_at_ = context_.clock.Monotonic();
    // The state is read first: when it is final, the events below hold the last one.
    WT_ASSIGN_OR_RETURN(const JobRecord record, context_.store.jobs().GetJob(tenant_, job_));
    WT_ASSIGN_OR_RETURN(const std::vector<JobEventRecord> events,
                        context_.store.jobs().ListJobEvents(tenant_, job_, last_sequence_,
                                                            static_cast<int32_t>(kEventsPerRead)));
    pending_.assign(events.begin(), events.end());
    more_ = events.size() == kEventsPerRead;
    if (pending_.empty() && IsFinal(record.state)) ended_ = true;
    return absl::OkStatus();
  }

  HandlerContext& context_;
  const std::string tenant_;
  const std::string job_;
  int64_t last_sequence_;
  uint64_t generation_ = 0;
  std::optional<absl::Duration> read_at_;  // on the monotonic clock
  bool more_ = false;                      // the last read was full: there may be more
  bool ended_ = false;
  std::deque<JobEventRecord> pending_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<SendingCall<v1::WatchFineTuningJobResponse>>> WatchFineTuningJob(
    HandlerContext& context, const Caller& caller, const v1::WatchFineTuningJobRequest& request) {
  WT_ASSIGN_OR_RETURN(const std::string id, ParseOwnId(caller, kJobs, request.name(), "name"));
  if (request.after_sequence() < 0) return InvalidField("after_sequence", "must not be negative");
  WT_RETURN_IF_ERROR(
      Named("fine-tuning job", context.store.jobs().GetJob(caller.tenant_id, id)).status());
  return std::make_unique<WatchCall>(context, caller.tenant_id, id, request.after_sequence());
}

}  // namespace wardtune
