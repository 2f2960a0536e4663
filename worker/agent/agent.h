// The worker's loop: wait for a lease, run the work, report how it ended, again. With several jobs
// at once there are as many loops, each on a thread of its own; jobs take turns and train together
// (worker/agent/compute_turns.h), all on one base model at a time.
//
// Stop() ends it in good order: a running step is finished, a checkpoint uploaded, and the attempt
// handed back as retryable.
// Thread safety: all methods may be called from any thread; Run() by one at a time.
#ifndef WARDTUNE_WORKER_AGENT_AGENT_H_
#define WARDTUNE_WORKER_AGENT_AGENT_H_

#include <atomic>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "worker/agent/event_log.h"
#include "worker/agent/job_environment.h"
#include "worker/agent/worker_client.h"

namespace wardtune {

class Agent {
 public:
  // All references must outlive the agent.
  Agent(WorkerClient& client, JobEnvironment& environment, EventLog& log, Clock& clock)
      : client_(client), environment_(environment), log_(log), clock_(clock) {}

  // Works until Stop(). Waits while the server is away, and after other errors of its own while a
  // job runs.
  // Errors: UNAUTHENTICATED or PERMISSION_DENIED when the server refuses the key; NOT_FOUND when
  // there is no base model to work with.
  absl::Status Run();

  // Waits up to `wait` for one lease and runs it; false when there was none. After a job for which
  // this worker had the wrong base model or the wrong key it first stands back, longer each time.
  // Errors: those of LeaseJob; a job that fails is reported to the server and is no error here.
  absl::StatusOr<bool> RunOne(absl::Duration wait);

  void Stop();

 private:
  // One of the loops.
  absl::Status WorkUntilStopped();
  // Waits for a lease while no other loop does. The job counts as running then.
  absl::StatusOr<std::optional<v1::Lease>> LeaseNext(absl::Duration wait);
  // What to ask for now: beside a running job only others on its base model.
  struct LeaseQuestion {
    std::vector<std::string> models;
    absl::Duration longest_wait;
  };
  absl::StatusOr<LeaseQuestion> WhatToLease();
  // The lease was taken at `leased_at`, on clock_'s monotonic time.
  void RunLease(const v1::Lease& lease, absl::Duration leased_at);
  // Ends what LeaseNext began.
  void EndLease();
  // Whether and how long to stand back after a lease ended with this reason, empty where it did not
  // fail.
  void LearnFromEnd(const std::string& failure, absl::Duration leased_at);
  void StandBackIfNeeded();
  // Whether a loop goes on after such an error of RunOne, once it has waited.
  bool GoesOnAfter(absl::StatusCode code);
  // Sleeps, but not past Stop() by more than a moment.
  void Wait(absl::Duration duration);

  WorkerClient& client_;
  JobEnvironment& environment_;
  EventLog& log_;
  Clock& clock_;
  std::atomic<bool> stopping_ = false;

  // Held by the loop that waits for a lease.
  absl::Mutex leasing_ ABSL_ACQUIRED_BEFORE(mutex_);
  absl::Mutex mutex_;
  int running_ ABSL_GUARDED_BY(mutex_) = 0;
  std::string running_on_ ABSL_GUARDED_BY(mutex_);  // base model of what runs
  // Since nothing ran.
  int leased_ ABSL_GUARDED_BY(mutex_) = 0;
  // How long, until when, and since when this worker keeps from leasing; on clock_'s monotonic
  // time.
  absl::Duration stand_back_ ABSL_GUARDED_BY(mutex_) = absl::ZeroDuration();
  absl::Duration stand_back_until_ ABSL_GUARDED_BY(mutex_) = -absl::InfiniteDuration();
  absl::Duration failed_at_ ABSL_GUARDED_BY(mutex_) = -absl::InfiniteDuration();
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_AGENT_AGENT_H_
