#include "storage/security_vector_state.h"

namespace wardtune {

std::string ToString(SecurityVectorState state) {
  switch (state) {
    case SecurityVectorState::kTraining:
      return "TRAINING";
    case SecurityVectorState::kEvaluated:
      return "EVALUATED";
    case SecurityVectorState::kActive:
      return "ACTIVE";
    case SecurityVectorState::kRetired:
      return "RETIRED";
    case SecurityVectorState::kFailed:
      return "FAILED";
  }
  return "UNKNOWN";
}

std::string ToString(SecurityVectorEvent event) {
  switch (event) {
    case SecurityVectorEvent::kEvaluate:
      return "evaluate";
    case SecurityVectorEvent::kFail:
      return "fail";
    case SecurityVectorEvent::kActivate:
      return "activate";
    case SecurityVectorEvent::kRetire:
      return "retire";
  }
  return "unknown";
}

absl::StatusOr<SecurityVectorState> Next(SecurityVectorState state, SecurityVectorEvent event) {
  return NextState<SecurityVectorState, SecurityVectorEvent>(kSecurityVectorTransitions, state,
                                                             event, "security vector version");
}

std::string SecurityVectorStatesToMermaid() {
  return TableToMermaid<SecurityVectorState, SecurityVectorEvent>(kSecurityVectorTransitions);
}

}  // namespace wardtune
