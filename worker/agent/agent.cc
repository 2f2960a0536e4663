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
// Beside a running job, which ends at some time: then others may be leased.
constexpr absl::Duration kLeaseWaitBesideJobs = absl::Seconds(2);
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
  if (stop_reason == StopReason::kShutdown && (absl::IsCancelled(status) || IsTransient(status))) {
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
  const auto more = static_cast<size_t>(environment_.jobs_at_once) - 1;
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
    if (!GoesOnAfter(code)) return worked.status();
    log_.Write("cannot_lease", {{"code", absl::StatusCodeToString(code)}});
    Wait(pause);
    pause = std::min(2 * pause, kLongestPause);
  }
  return absl::OkStatus();
}

bool Agent::GoesOnAfter(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kCancelled:  // a server that stops has ended the call that waited
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kInternal:
      return true;
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
      return false;
    default: {
      absl::MutexLock lock(&mutex_);
      return running_ > 0;  // which is not ended for that
    }
  }
}

absl::StatusOr<bool> Agent::RunOne(absl::Duration wait) {
  WT_ASSIGN_OR_RETURN(const std::optional<v1::Lease> lease, LeaseNext(wait));
  if (!lease.has_value()) return false;
  const absl::Duration leased_at = clock_.Monotonic();
  RunLease(*lease, leased_at);
  EndLease();
  return true;
}

absl::StatusOr<std::optional<v1::Lease>> Agent::LeaseNext(absl::Duration wait) {
  absl::MutexLock leasing(&leasing_);
  StandBackIfNeeded();
  if (environment_.memory.waiting() > 0) {  // what is here does not fit already
    Wait(std::min(wait, kLeaseWaitBesideJobs));
    return std::nullopt;
  }
  WT_ASSIGN_OR_RETURN(const LeaseQuestion question, WhatToLease());
  WT_ASSIGN_OR_RETURN(std::optional<v1::Lease> lease,
                      client_.LeaseJob(question.models, std::min(wait, question.longest_wait)));
  if (!lease.has_value()) return lease;
  absl::MutexLock lock(&mutex_);
  running_on_ = lease->base_model();
  ++running_;
  ++leased_;
  return lease;
}

absl::StatusOr<Agent::LeaseQuestion> Agent::WhatToLease() {
  WT_ASSIGN_OR_RETURN(std::vector<std::string> models, environment_.base_models.Names());
  absl::MutexLock lock(&mutex_);
  const bool enough = models.size() > 1 && leased_ >= kLeasesInARow * environment_.jobs_at_once;
  if (enough) mutex_.Await(absl::Condition(+[](int* running) { return *running == 0; }, &running_));
  if (running_ > 0) return LeaseQuestion{{running_on_}, kLeaseWaitBesideJobs};
  return LeaseQuestion{std::move(models), kLeaseWait};
}

void Agent::EndLease() {
  absl::MutexLock lock(&mutex_);
  if (--running_ == 0) leased_ = 0;
}

void Agent::LearnFromEnd(const std::string& failure, absl::Duration leased_at) {
  absl::MutexLock lock(&mutex_);
  if (failure == kBaseModelMismatch || failure == kSecurityVectorKeyMismatch) {
    // Those that were leased together fail together.
    if (leased_at >= failed_at_) {
      stand_back_ = std::clamp(2 * stand_back_, kFirstStandBack, kLongestStandBack);
    }
    failed_at_ = clock_.Monotonic();
    stand_back_until_ = failed_at_ + stand_back_;
    client_.InterruptLeasing();  // by another loop, which would be given the same job at once
  } else if (leased_at >= failed_at_) {  // what began before says nothing of a cause since mended
    stand_back_ = absl::ZeroDuration();
  }
}

// The next job would most likely fail like the one before; a worker that is set up better gets time
// to take it before this one has used up its attempts.
void Agent::StandBackIfNeeded() {
  while (!stopping_) {
    absl::Duration left;
    {
      absl::MutexLock lock(&mutex_);
      left = stand_back_until_ - clock_.Monotonic();
    }
    if (left <= absl::ZeroDuration()) return;
    log_.Write("standing_back", {{"seconds", absl::ToDoubleSeconds(left)}});
    Wait(left);
  }
}

void Agent::Wait(absl::Duration duration) {
  // In slices, so that Stop() is heard.
  constexpr absl::Duration kSlice = absl::Milliseconds(200);
  for (; duration > absl::ZeroDuration() && !stopping_; duration -= kSlice) {
    clock_.Sleep(std::min(duration, kSlice));
  }
}

void Agent::RunLease(const v1::Lease& lease, absl::Duration leased_at) {
  log_.Write("leased", {{"work", lease.work()},
                        {"attempt", int64_t{lease.attempt()}},
                        {"base_model", lease.base_model()}});
  LeaseKeeper keeper(lease, client_, log_, stopping_);
  Attempt attempt(lease, client_, keeper, environment_.turns, log_, clock_);
  const absl::Status status = [&]() -> absl::Status {
    const ComputeTurns::Turn turn(environment_.turns);
    const MemoryShares::Job job(environment_.memory);
    WT_RETURN_IF_ERROR(attempt.GoOn());
    return RunWork(environment_, attempt);
  }();
  const StopReason stop_reason = keeper.stop_reason();
  if (status.ok()) {
    log_.Write("completed", {{"work", lease.work()}, {"attempt", int64_t{lease.attempt()}}});
    return LearnFromEnd("", leased_at);
  }
  if (stop_reason == StopReason::kLeaseLost) {
    log_.Write("lease_lost", {{"work", lease.work()}, {"attempt", int64_t{lease.attempt()}}});
    return LearnFromEnd("", leased_at);
  }
  const v1::FailJobRequest failure = FailureMessage(lease, status, stop_reason, attempt.row_scan());
  log_.Write("failed", {{"work", lease.work()},
                        {"attempt", int64_t{lease.attempt()}},
                        {"reason", failure.cancelled() ? "CANCELLED" : failure.error_code()},
                        {"message", failure.error_message()}});
  LearnFromEnd(failure.error_code(), leased_at);  // from the report on the job is anyone's
  const absl::Status reported = client_.FailJob(
      failure, [&] { return stopping_ || keeper.stop_reason() == StopReason::kLeaseLost; });
  if (!reported.ok()) {
    log_.Write("failure_not_reported",
               {{"work", lease.work()}, {"code", absl::StatusCodeToString(reported.code())}});
  }
}

void Agent::Stop() {
  stopping_ = true;
  client_.StopLeasing();
}

}  // namespace wardtune
