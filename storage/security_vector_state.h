// The life of a security vector's version as one table.
//
// Numbers equal wardtune.v1.SecurityVectorVersion.State and are stored; never renumber.
// Thread safety: all functions are pure.
#ifndef WARDTUNE_STORAGE_SECURITY_VECTOR_STATE_H_
#define WARDTUNE_STORAGE_SECURITY_VECTOR_STATE_H_

#include <array>
#include <string>

#include "absl/status/statusor.h"
#include "storage/state_machine.h"

namespace wardtune {

enum class SecurityVectorState {
  kTraining = 1,   // Its job is queued or running.
  kEvaluated = 2,  // Trained and measured; can be activated.
  kActive = 3,     // New jobs of its base model train with it; at most one per base model.
  kRetired = 4,    // Was active once; can be activated again.
  kFailed = 5,     // Final: its job failed or was cancelled.
};
inline constexpr std::array kAllSecurityVectorStates = {
    SecurityVectorState::kTraining, SecurityVectorState::kEvaluated, SecurityVectorState::kActive,
    SecurityVectorState::kRetired, SecurityVectorState::kFailed};

enum class SecurityVectorEvent {
  kEvaluate,  // Its job succeeded.
  kFail,      // Its job ended otherwise.
  kActivate,  // The provider chose it.
  kRetire,    // The provider chose another one.
};
inline constexpr std::array kAllSecurityVectorEvents = {
    SecurityVectorEvent::kEvaluate, SecurityVectorEvent::kFail, SecurityVectorEvent::kActivate,
    SecurityVectorEvent::kRetire};

inline constexpr Transition<SecurityVectorState, SecurityVectorEvent> kSecurityVectorTransitions[] =
    {
        {SecurityVectorState::kTraining, SecurityVectorEvent::kEvaluate,
         SecurityVectorState::kEvaluated},
        {SecurityVectorState::kTraining, SecurityVectorEvent::kFail, SecurityVectorState::kFailed},
        {SecurityVectorState::kEvaluated, SecurityVectorEvent::kActivate,
         SecurityVectorState::kActive},
        {SecurityVectorState::kRetired, SecurityVectorEvent::kActivate,
         SecurityVectorState::kActive},
        {SecurityVectorState::kActive, SecurityVectorEvent::kRetire, SecurityVectorState::kRetired},
};

// For example "EVALUATED".
std::string ToString(SecurityVectorState state);
// For example "activate".
std::string ToString(SecurityVectorEvent event);

// Errors: FAILED_PRECONDITION naming the state when the event is illegal in it.
absl::StatusOr<SecurityVectorState> Next(SecurityVectorState state, SecurityVectorEvent event);

// The diagram of docs/architecture.md.
std::string SecurityVectorStatesToMermaid();

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_SECURITY_VECTOR_STATE_H_
