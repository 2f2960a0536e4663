#include "worker/agent/agent.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/status_macros.h"
#include "base/thread_pool.h"
#include "worker/agent/attempt.h"
#include "worker/agent/audit_run.h"
#include "worker/agent/fine_tuning_run.h"
#include "worker/agent/job_error.h"
#include "worker/agent/lease_keeper.h"
#include "worker/agent/security_vector_run.h"

namespace wardtune {
namespace {

constexpr absl::Duration kLeaseWait = absl::Seconds(20);
constexpr absl::Duration kLongestPause = absl::Seconds(5);
// After a job that this worker is not set up for.
constexpr absl::Duration kFirstStandBack = absl::Seconds(5);
constexpr absl::Duration kLongestStandBack = absl::Minutes(5);
// For each job at once: after so many on one base model jobs on others get their turn, where the
// worker has others.
constexpr int kLeasesInARow = 4;

absl::Status RunWork(JobEnvironment& environment, Attempt& attempt) {
  switch (attempt.lease().task_case()) {
    case v1::Lease::kFineTuning:
      return FineTuningRun(environment, attempt).Run();
    case v1::Lease::kSecurityVector:
      return SecurityVectorRun(environment, attempt).Run();
    case v1::Lease::kAudit:
      return AuditRun(environment, attempt).Run();
    default:
      return absl::UnimplementedError("the lease asks for work that this worker does not know");
  }
}

v1::FailJobRequest FailureMessage(const v1::Lease& lease, const absl::Status& status,
                                  StopReason stop_reason, const v1::RowScanOutcome& row_scan) {
  JobFailure failure = FailureOf(status);
  if (stop_reason == StopReason::kShutdown && status.code() == absl::StatusCode::kCancelled) {
    failure = {.code = std::string(kWorkerStopping),
               .message = "the worker was stopped; another attempt goes on from the checkpoint",
               .retryable = true};
  }
  v1::FailJobRequest request;
  request.set_work(lease.work());
  request.set_attempt(lease.attempt());
  if (row_scan.has_report()) *request.mutable_row_scan() = row_scan;
  if (stop_reason == StopReason::kCancelled) {
    request.set_cancelled(true);
    return request;
  }
  request.set_error_code(failure.code);
  request.set_error_message(failure.message);
  request.set_retryable(failure.retryable);
  return request;
}

}  // namespace

absl::Status Agent::Run() {
  absl::Mutex mutex;
  absl::Status first;
  const auto work = [&] {
    const absl::Status status = WorkUntilStopped();
    if (!status.ok()) Stop();
    absl::MutexLock lock(&mutex);
    first.Update(status);
  };
  const auto more = static_cast<size_t>(jobs_at_once_) - 1;
  ThreadPool loops(static_cast<int>(more), more);
  for (size_t i = 0; i < more; ++i) {
    if (!loops.Schedule(work)) return absl::InternalError("a worker's loop could not be started");
  }
  work();
  loops.Stop();
  return first;
}

absl::Status Agent::WorkUntilStopped() {
  absl::Duration pause = absl::Milliseconds(200);
  while (!stopping_) {
    const absl::StatusOr<bool> worked = RunOne(kLeaseWait);
    if (worked.ok()) {
      pause = absl::Milliseconds(200);
      continue;
    }
    if (stopping_) break;
    const absl::StatusCode code = worked.status().code();
    // CANCELLED: a server that stops has ended the call that waited.
    if (code != absl::StatusCode::kUnavailable && code != absl::StatusCode::kCancelled &&
        code != absl::StatusCode::kDeadlineExceeded &&
        code != absl::StatusCode::kResourceExhausted && code != absl::StatusCode::kInternal) {
      return worked.status();
    }
    log_.Write("server_away", {{"code", absl::StatusCodeToString(code)}});
    Wait(pause);
    pause = std::min(2 * pause, kLongestPause);
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> Agent::RunOne(absl::Duration wait) {
  WT_ASSIGN_OR_RETURN(const std::optional<v1::Lease> lease, LeaseNext(wait));
  if (!lease.has_value()) return false;
  EndLease(RunLease(*lease));
  return true;
}

absl::StatusOr<std::optional<v1::Lease>> Agent::LeaseNext(absl::Duration wait) {
  absl::MutexLock leasing(&leasing_);
  StandBackIfNeeded();
  WT_ASSIGN_OR_RETURN(const std::vector<std::string> models, ModelsToLease());
  WT_ASSIGN_OR_RETURN(std::optional<v1::Lease> lease, client_.LeaseJob(models, wait));
  if (!lease.has_value()) return lease;
  absl::MutexLock lock(&mutex_);
  running_on_ = lease->base_model();
  ++running_;
  ++leased_;
  return lease;
}

absl::StatusOr<std::vector<std::string>> Agent::ModelsToLease() {
  WT_ASSIGN_OR_RETURN(std::vector<std::string> models, environment_.base_models.Names());
  absl::MutexLock lock(&mutex_);
  if (running_ == 0 || models.size() == 1) return models;
  if (leased_ < kLeasesInARow * jobs_at_once_) return std::vector<std::string>{running_on_};
  mutex_.Await(absl::Condition(+[](int* running) { return *running == 0; }, &running_));
  return models;
}

void Agent::EndLease(const std::string& failure) {
  absl::MutexLock lock(&mutex_);
  if (--running_ == 0) leased_ = 0;
  must_stand_back_ = failure == kBaseModelMismatch || failure == kSecurityVectorKeyMismatch;
  stand_back_ = must_stand_back_ ? std::clamp(2 * stand_back_, kFirstStandBack, kLongestStandBack)
                                 : absl::ZeroDuration();
}

// The next job would most likely fail like the one before; a worker that is set up better gets time
// to take it before this one has used up its attempts.
void Agent::StandBackIfNeeded() {
  absl::Duration duration;
  {
    absl::MutexLock lock(&mutex_);
    if (!std::exchange(must_stand_back_, false)) return;
    duration = stand_back_;
  }
  log_.Write("standing_back", {{"seconds", absl::ToDoubleSeconds(duration)}});
  Wait(duration);
}

void Agent::Wait(absl::Duration duration) {
  // In slices, so that Stop() is heard.
  constexpr absl::Duration kSlice = absl::Milliseconds(200);
  for (; duration > absl::ZeroDuration() && !stopping_; duration -= kSlice) {
    clock_.Sleep(std::min(duration, kSlice));
  }
}

std::string Agent::RunLease(const v1::Lease& lease) {
  log_.Write("leased", {{"work", lease.work()},
                        {"attempt", int64_t{lease.attempt()}},
                        {"base_model", lease.base_model()}});
  LeaseKeeper keeper(lease, client_, log_, stopping_);
  Attempt attempt(lease, client_, keeper, log_, clock_);
  const absl::Status status = [&] {
    const ComputeTurns::Turn turn(environment_.turns);
    return RunWork(environment_, attempt);
  }();
  const StopReason stop_reason = keeper.stop_reason();
  if (status.ok()) {
    log_.Write("completed", {{"work", lease.work()}, {"attempt", int64_t{lease.attempt()}}});
    return "";
  }
  if (stop_reason == StopReason::kLeaseLost) {
    log_.Write("lease_lost", {{"work", lease.work()}, {"attempt", int64_t{lease.attempt()}}});
    return "";
  }
  const v1::FailJobRequest failure = FailureMessage(lease, status, stop_reason, attempt.row_scan());
  log_.Write("failed", {{"work", lease.work()},
                        {"attempt", int64_t{lease.attempt()}},
                        {"reason", failure.cancelled() ? "CANCELLED" : failure.error_code()},
                        {"message", failure.error_message()}});
  const absl::Status reported = client_.FailJob(
      failure, [&] { return stopping_ || keeper.stop_reason() == StopReason::kLeaseLost; });
  if (!reported.ok()) {
    log_.Write("failure_not_reported",
               {{"work", lease.work()}, {"code", absl::StatusCodeToString(reported.code())}});
  }
  return failure.error_code();
}

void Agent::Stop() {
  stopping_ = true;
  client_.StopLeasing();
}

}  // namespace wardtune
