#include "worker/agent/lease_keeper.h"

#include <algorithm>

namespace wardtune {
namespace {

// Progress and cancelling travel with heartbeats: customers wait for both.
constexpr absl::Duration kLongestPeriod = absl::Seconds(2);

absl::Duration HeartbeatPeriod(const v1::Lease& lease) {
  const absl::Duration duration = absl::Seconds(lease.lease_duration().seconds()) +
                                  absl::Nanoseconds(lease.lease_duration().nanos());
  return std::clamp(duration / 3, absl::Milliseconds(10), kLongestPeriod);
}

v1::HeartbeatRequest FirstRequest(const v1::Lease& lease) {
  v1::HeartbeatRequest request;
  request.set_work(lease.work());
  request.set_attempt(lease.attempt());
  request.set_phase(v1::FineTuningJob::PHASE_PREPARING);
  return request;
}

}  // namespace

LeaseKeeper::LeaseKeeper(const v1::Lease& lease, WorkerClient& client, EventLog& log,
                         const std::atomic<bool>& shutdown)
    : client_(client),
      log_(log),
      shutdown_(shutdown),
      next_(FirstRequest(lease)),
      heartbeat_(HeartbeatPeriod(lease), [this] { Beat(); }) {}

LeaseKeeper::~LeaseKeeper() { heartbeat_.Stop(); }

void LeaseKeeper::SetPhase(v1::FineTuningJob::Phase phase) {
  absl::MutexLock lock(&mutex_);
  next_.set_phase(phase);
}

void LeaseKeeper::SetProgress(const v1::Progress& progress) {
  absl::MutexLock lock(&mutex_);
  *next_.mutable_progress() = progress;
}

void LeaseKeeper::SetSafetyBefore(const v1::SafetyReport& report) {
  absl::MutexLock lock(&mutex_);
  *next_.mutable_safety_before() = report;
}

void LeaseKeeper::SetRowScan(const v1::RowScanOutcome& outcome) {
  absl::MutexLock lock(&mutex_);
  *next_.mutable_row_scan() = outcome;
}

StopReason LeaseKeeper::stop_reason() const {
  absl::MutexLock lock(&mutex_);
  if (lease_lost_) return StopReason::kLeaseLost;
  if (cancelled_) return StopReason::kCancelled;
  return shutdown_ ? StopReason::kShutdown : StopReason::kNone;
}

absl::Status LeaseKeeper::GoOn() const {
  switch (stop_reason()) {
    case StopReason::kNone:
      return absl::OkStatus();
    case StopReason::kShutdown:
      return absl::CancelledError("the worker is stopping");
    case StopReason::kCancelled:
      return absl::CancelledError("the job was cancelled");
    case StopReason::kLeaseLost:
      return absl::CancelledError("another attempt holds the lease");
  }
  return absl::OkStatus();
}

void LeaseKeeper::Beat() {
  v1::HeartbeatRequest request;
  {
    absl::MutexLock lock(&mutex_);
    if (lease_lost_) return;
    request = next_;
  }
  const absl::StatusOr<v1::HeartbeatResponse> response = client_.Heartbeat(request);
  if (!response.ok()) {
    log_.Write("heartbeat_failed", {{"work", request.work()},
                                    {"code", absl::StatusCodeToString(response.status().code())}});
    NoteStatus(response.status());
    return;
  }
  absl::MutexLock lock(&mutex_);
  if (response->cancel_requested()) cancelled_ = true;
  if (request.has_safety_before()) next_.clear_safety_before();
  if (request.has_row_scan()) next_.clear_row_scan();
}

void LeaseKeeper::NoteStatus(const absl::Status& status) {
  if (!IsLeaseLost(status)) return;
  absl::MutexLock lock(&mutex_);
  lease_lost_ = true;
}

}  // namespace wardtune
