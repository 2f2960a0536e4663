// The worker's loop: wait for a lease, run the work, report how it ended, again.
//
// Stop() ends it in good order: a running step is finished, a checkpoint uploaded, and the attempt
// handed back as retryable.
// Thread safety: Stop() may be called from any thread, the rest belongs to one.
#ifndef WARDTUNE_WORKER_AGENT_AGENT_H_
#define WARDTUNE_WORKER_AGENT_AGENT_H_

#include <atomic>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
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

  // Works until Stop(). Waits while the server is away.
  // Errors: UNAUTHENTICATED or PERMISSION_DENIED when the server refuses the key; NOT_FOUND when
  // there is no base model to work with.
  absl::Status Run();

  // Waits up to `wait` for one lease and runs it; false when there was none. After a job for which
  // this worker had the wrong base model or the wrong key it first stands back, longer each time.
  // Errors: those of LeaseJob; a job that fails is reported to the server and is no error here.
  absl::StatusOr<bool> RunOne(absl::Duration wait);

  void Stop();

 private:
  // Returns the reason that was reported; empty when the job succeeded, was cancelled or lost.
  std::string RunLease(const v1::Lease& lease);
  // Sleeps, but not past Stop() by more than a moment.
  void Wait(absl::Duration duration);

  WorkerClient& client_;
  JobEnvironment& environment_;
  EventLog& log_;
  Clock& clock_;
  std::atomic<bool> stopping_ = false;
  absl::Duration stand_back_ = absl::ZeroDuration();
  bool must_stand_back_ = false;
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_AGENT_AGENT_H_
