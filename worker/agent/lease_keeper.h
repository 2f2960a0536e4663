// Keeps one attempt's lease alive: a heartbeat every third of the lease's time, and every 2 s at
// the latest, on a thread of its own, so that a long step cannot lose the job. Progress goes out
// with it; cancelling and the loss of the lease come back. Thread safety: all methods may be called
// from any thread.
#ifndef WARDTUNE_WORKER_AGENT_LEASE_KEEPER_H_
#define WARDTUNE_WORKER_AGENT_LEASE_KEEPER_H_

#include <atomic>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/thread_pool.h"
#include "wardtune/v1/worker_service.pb.h"
#include "worker/agent/event_log.h"
#include "worker/agent/worker_client.h"

namespace wardtune {

// Why an attempt must end early, the weightiest last.
enum class StopReason { kNone, kShutdown, kCancelled, kLeaseLost };

class LeaseKeeper {
 public:
  // Starts the heartbeats. `client`, `log` and `shutdown` must outlive the keeper; `shutdown` is
  // set from outside when the process is to end.
  LeaseKeeper(const v1::Lease& lease, WorkerClient& client, EventLog& log,
              const std::atomic<bool>& shutdown);
  // Stops the heartbeats.
  ~LeaseKeeper();

  void SetPhase(v1::FineTuningJob::Phase phase);
  void SetProgress(const v1::Progress& progress);
  // Sent once, with the next heartbeat.
  void SetSafetyBefore(const v1::SafetyReport& report);
  void SetRowScan(const v1::RowScanOutcome& outcome);

  StopReason stop_reason() const;
  // OK, or CANCELLED saying why the attempt must end.
  absl::Status GoOn() const;

  // Sends a heartbeat now, on the caller's thread.
  void Beat();
  // For a call that told of the lost lease before a heartbeat did.
  void NoteStatus(const absl::Status& status);

 private:
  WorkerClient& client_;
  EventLog& log_;
  const std::atomic<bool>& shutdown_;

  mutable absl::Mutex mutex_;
  v1::HeartbeatRequest next_ ABSL_GUARDED_BY(mutex_);
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool lease_lost_ ABSL_GUARDED_BY(mutex_) = false;

  // Last, so that its thread ends before what it uses.
  PeriodicTask heartbeat_;
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_AGENT_LEASE_KEEPER_H_
