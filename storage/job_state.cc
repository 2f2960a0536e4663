#include "storage/job_state.h"

namespace wardtune {

std::string ToString(JobState state) {
  switch (state) {
    case JobState::kQueued:
      return "QUEUED";
    case JobState::kRunning:
      return "RUNNING";
    case JobState::kCancelling:
      return "CANCELLING";
    case JobState::kSucceeded:
      return "SUCCEEDED";
    case JobState::kFailed:
      return "FAILED";
    case JobState::kCancelled:
      return "CANCELLED";
  }
  return "UNKNOWN";
}

std::string ToString(JobEvent event) {
  switch (event) {
    case JobEvent::kLease:
      return "lease";
    case JobEvent::kComplete:
      return "complete";
    case JobEvent::kRetry:
      return "retry";
    case JobEvent::kFail:
      return "fail";
    case JobEvent::kCancel:
      return "cancel";
    case JobEvent::kStop:
      return "stop";
  }
  return "unknown";
}

absl::StatusOr<JobState> Next(JobState state, JobEvent event) {
  return NextState<JobState, JobEvent>(kJobTransitions, state, event, "job");
}

std::string JobStatesToMermaid() { return TableToMermaid<JobState, JobEvent>(kJobTransitions); }

}  // namespace wardtune
