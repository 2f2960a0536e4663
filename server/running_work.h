// What this process has seen of the work in progress: heartbeats, stages and how long jobs take.
// In memory only; after a restart it fills again with the next heartbeats. Feeds metrics and the
// queue's estimates, never decisions.
// Thread safety: all methods may be called from any thread.
#ifndef WARDTUNE_SERVER_RUNNING_WORK_H_
#define WARDTUNE_SERVER_RUNNING_WORK_H_

#include <deque>
#include <map>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/rpc/server_metrics.h"

namespace wardtune {

class RunningWork {
 public:
  // `clock` and `metrics` must outlive the object.
  RunningWork(Clock& clock, ServerMetrics& metrics) : clock_(clock), metrics_(metrics) {}

  // A worker was heard of: it took the job, or sent a heartbeat. `stage` is the phase's name.
  void Heard(const std::string& job, const std::string& stage);
  // The attempt ended with a result: its duration counts for estimates.
  void Finished(const std::string& job);
  // The attempt ended without one.
  void Dropped(const std::string& job);

  // Zero when nothing runs.
  absl::Duration OldestHeartbeatAge();
  // Of the last jobs; nullopt before the first.
  std::optional<absl::Duration> MedianDuration();

 private:
  struct Entry {
    absl::Duration start;  // all on the monotonic clock
    absl::Duration heard;
    absl::Duration stage_start;
    std::string stage;
  };

  void EndStage(const Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Clock& clock_;
  ServerMetrics& metrics_;
  absl::Mutex mutex_;
  std::map<std::string, Entry> entries_ ABSL_GUARDED_BY(mutex_);
  std::deque<absl::Duration> durations_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_RUNNING_WORK_H_
