// A state machine as data: a constexpr table of {from, event, to}, looked up and drawn.
//
// Whatever the table does not list is illegal and answered with FAILED_PRECONDITION that names the
// state. Thread safety: none needed, there is no state.
#ifndef WARDTUNE_STORAGE_STATE_MACHINE_H_
#define WARDTUNE_STORAGE_STATE_MACHINE_H_

#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace wardtune {

// One legal move.
template <typename State, typename Event>
struct Transition {
  State from;
  Event event;
  State to;
};

// The state after `event`. `subject` is what moves, for the message, for example "job".
// Errors: FAILED_PRECONDITION when the table has no such move. Needs std::string ToString(State)
// and ToString(Event) beside the two enums.
template <typename State, typename Event>
absl::StatusOr<State> NextState(std::span<const Transition<State, Event>> table, State from,
                                Event event, std::string_view subject) {
  for (const auto& move : table) {
    if (move.from == from && move.event == event) return move.to;
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "cannot ", ToString(event), " a ", std::string(subject), " that is ", ToString(from)));
}

// The table as a Mermaid stateDiagram-v2, for the docs.
template <typename State, typename Event>
std::string TableToMermaid(std::span<const Transition<State, Event>> table) {
  std::string text = "stateDiagram-v2\n";
  for (const auto& move : table) {
    absl::StrAppend(&text, "    ", ToString(move.from), " --> ", ToString(move.to), ": ",
                    ToString(move.event), "\n");
  }
  return text;
}

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_STATE_MACHINE_H_
