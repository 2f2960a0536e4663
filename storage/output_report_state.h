// The life of a reported output as one table.
//
// Numbers equal wardtune.v1.OutputReport.State and are stored; never renumber.
// Thread safety: all functions are pure.
#ifndef WARDTUNE_STORAGE_OUTPUT_REPORT_STATE_H_
#define WARDTUNE_STORAGE_OUTPUT_REPORT_STATE_H_

#include <array>
#include <string>

#include "absl/status/statusor.h"
#include "storage/state_machine.h"

namespace wardtune {

enum class OutputReportState {
  kOpen = 1,       // Waits for the provider.
  kConfirmed = 2,  // Final: the output is harmful; its row is exported.
  kDismissed = 3,  // Final: it is not, or nothing is to be learned from it.
};
inline constexpr std::array kAllOutputReportStates = {
    OutputReportState::kOpen, OutputReportState::kConfirmed, OutputReportState::kDismissed};

enum class OutputReportEvent {
  kConfirm,  // The provider found it harmful.
  kDismiss,  // The provider did not.
};
inline constexpr std::array kAllOutputReportEvents = {OutputReportEvent::kConfirm,
                                                      OutputReportEvent::kDismiss};

inline constexpr Transition<OutputReportState, OutputReportEvent> kOutputReportTransitions[] = {
    {OutputReportState::kOpen, OutputReportEvent::kConfirm, OutputReportState::kConfirmed},
    {OutputReportState::kOpen, OutputReportEvent::kDismiss, OutputReportState::kDismissed},
};

// For example "OPEN".
std::string ToString(OutputReportState state);
// For example "confirm".
std::string ToString(OutputReportEvent event);

// Errors: FAILED_PRECONDITION naming the state when the event is illegal in it.
absl::StatusOr<OutputReportState> Next(OutputReportState state, OutputReportEvent event);

// The diagram of docs/architecture.md.
std::string OutputReportStatesToMermaid();

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_OUTPUT_REPORT_STATE_H_
