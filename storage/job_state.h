// The life of a job as one table. The database repeats the states in its CHECK constraints.
//
// Numbers equal wardtune.v1.FineTuningJob.State and are stored; never renumber.
// Thread safety: all functions are pure.
#ifndef WARDTUNE_STORAGE_JOB_STATE_H_
#define WARDTUNE_STORAGE_JOB_STATE_H_

#include <array>
#include <string>

#include "absl/status/statusor.h"
#include "storage/state_machine.h"

namespace wardtune {

enum class JobState {
  kQueued = 1,      // Waits for a worker; LeaseNext takes it.
  kRunning = 2,     // A worker holds a lease; its calls or the reaper move it on.
  kCancelling = 3,  // As kRunning, and the worker will be told to stop.
  kSucceeded = 4,   // Final, with a result.
  kFailed = 5,      // Final, with a reason.
  kCancelled = 6,   // Final, by the customer's wish.
};
inline constexpr std::array kAllJobStates = {JobState::kQueued,     JobState::kRunning,
                                             JobState::kCancelling, JobState::kSucceeded,
                                             JobState::kFailed,     JobState::kCancelled};

enum class JobEvent {
  kLease,     // A worker takes it.
  kComplete,  // The worker delivers the result.
  kRetry,     // The attempt failed or its lease ended, and another attempt is allowed.
  kFail,      // The attempt failed or its lease ended, and none is.
  kCancel,    // The customer asks to cancel.
  kStop,      // The worker says that it stopped because of that.
};
inline constexpr std::array kAllJobEvents = {JobEvent::kLease,  JobEvent::kComplete,
                                             JobEvent::kRetry,  JobEvent::kFail,
                                             JobEvent::kCancel, JobEvent::kStop};

// A cancel that was answered holds: whatever the worker says afterwards, the job ends CANCELLED.
inline constexpr Transition<JobState, JobEvent> kJobTransitions[] = {
    {JobState::kQueued, JobEvent::kLease, JobState::kRunning},
    {JobState::kQueued, JobEvent::kCancel, JobState::kCancelled},
    {JobState::kRunning, JobEvent::kComplete, JobState::kSucceeded},
    {JobState::kRunning, JobEvent::kRetry, JobState::kQueued},
    {JobState::kRunning, JobEvent::kFail, JobState::kFailed},
    {JobState::kRunning, JobEvent::kCancel, JobState::kCancelling},
    {JobState::kCancelling, JobEvent::kCancel, JobState::kCancelling},
    {JobState::kCancelling, JobEvent::kStop, JobState::kCancelled},
    {JobState::kCancelling, JobEvent::kComplete, JobState::kCancelled},
    {JobState::kCancelling, JobEvent::kRetry, JobState::kCancelled},
    {JobState::kCancelling, JobEvent::kFail, JobState::kCancelled},
};

// For example "QUEUED".
std::string ToString(JobState state);
// For example "lease".
std::string ToString(JobEvent event);

// Errors: FAILED_PRECONDITION naming the state when the event is illegal in it.
absl::StatusOr<JobState> Next(JobState state, JobEvent event);

// No event leaves a final state.
constexpr bool IsFinal(JobState state) {
  for (const auto& move : kJobTransitions) {
    if (move.from == state) return false;
  }
  return true;
}
// States in which a worker holds a lease.
constexpr bool HasLease(JobState state) {
  return state == JobState::kRunning || state == JobState::kCancelling;
}

// The diagram of docs/architecture.md.
std::string JobStatesToMermaid();

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_JOB_STATE_H_
