#include "storage/output_report_state.h"

namespace wardtune {

std::string ToString(OutputReportState state) {
  switch (state) {
    case OutputReportState::kOpen:
      return "OPEN";
    case OutputReportState::kConfirmed:
      return "CONFIRMED";
    case OutputReportState::kDismissed:
      return "DISMISSED";
  }
  return "UNKNOWN";
}

std::string ToString(OutputReportEvent event) {
  switch (event) {
    case OutputReportEvent::kConfirm:
      return "confirm";
    case OutputReportEvent::kDismiss:
      return "dismiss";
  }
  return "unknown";
}

absl::StatusOr<OutputReportState> Next(OutputReportState state, OutputReportEvent event) {
  return NextState<OutputReportState, OutputReportEvent>(kOutputReportTransitions, state, event,
                                                         "report");
}

std::string OutputReportStatesToMermaid() {
  return TableToMermaid<OutputReportState, OutputReportEvent>(kOutputReportTransitions);
}

}  // namespace wardtune
