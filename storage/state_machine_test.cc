#include "storage/state_machine.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include "base/status_matchers.h"
#include "storage/job_state.h"
#include "storage/output_report_state.h"
#include "storage/security_vector_state.h"

namespace wardtune {
namespace {

using ::testing::HasSubstr;
using ::wardtune::testing::StatusIs;

// Every legal move, written out a second time on purpose.
TEST(JobStateTest, EveryPairOfStateAndEventIsLegalOrNamesTheState) {
  using S = JobState;
  using E = JobEvent;
  const std::map<std::pair<S, E>, S> legal = {
      {{S::kQueued, E::kLease}, S::kRunning},          {{S::kQueued, E::kCancel}, S::kCancelled},
      {{S::kRunning, E::kComplete}, S::kSucceeded},    {{S::kRunning, E::kRetry}, S::kQueued},
      {{S::kRunning, E::kFail}, S::kFailed},           {{S::kRunning, E::kCancel}, S::kCancelling},
      {{S::kCancelling, E::kCancel}, S::kCancelling},  {{S::kCancelling, E::kStop}, S::kCancelled},
      {{S::kCancelling, E::kComplete}, S::kCancelled}, {{S::kCancelling, E::kRetry}, S::kCancelled},
      {{S::kCancelling, E::kFail}, S::kCancelled},
  };
  for (const S state : kAllJobStates) {
    for (const E event : kAllJobEvents) {
      SCOPED_TRACE(ToString(state) + " + " + ToString(event));
      const auto move = legal.find({state, event});
      if (move != legal.end()) {
        EXPECT_EQ(Next(state, event).value(), move->second);
      } else {
        EXPECT_THAT(Next(state, event), StatusIs(absl::StatusCode::kFailedPrecondition,
                                                 HasSubstr("that is " + ToString(state))));
      }
    }
  }
}

TEST(JobStateTest, ExactlyTheThreeEndsAreFinal) {
  for (const JobState state : kAllJobStates) {
    EXPECT_EQ(IsFinal(state), state >= JobState::kSucceeded) << ToString(state);
  }
}

TEST(JobStateTest, TheDiagramHasALineForEachMove) {
  const std::string diagram = JobStatesToMermaid();
  EXPECT_THAT(diagram, HasSubstr("stateDiagram-v2\n    QUEUED --> RUNNING: lease\n"));
  EXPECT_EQ(std::count(diagram.begin(), diagram.end(), '\n'), 1 + std::ssize(kJobTransitions));
}

TEST(SecurityVectorStateTest, EveryPairOfStateAndEventIsLegalOrNamesTheState) {
  using S = SecurityVectorState;
  using E = SecurityVectorEvent;
  const std::map<std::pair<S, E>, S> legal = {
      {{S::kTraining, E::kEvaluate}, S::kEvaluated}, {{S::kTraining, E::kFail}, S::kFailed},
      {{S::kEvaluated, E::kActivate}, S::kActive},   {{S::kRetired, E::kActivate}, S::kActive},
      {{S::kActive, E::kRetire}, S::kRetired},
  };
  for (const S state : kAllSecurityVectorStates) {
    for (const E event : kAllSecurityVectorEvents) {
      SCOPED_TRACE(ToString(state) + " + " + ToString(event));
      const auto move = legal.find({state, event});
      if (move != legal.end()) {
        EXPECT_EQ(Next(state, event).value(), move->second);
      } else {
        EXPECT_THAT(Next(state, event), StatusIs(absl::StatusCode::kFailedPrecondition,
                                                 HasSubstr("that is " + ToString(state))));
      }
    }
  }
}

TEST(OutputReportStateTest, AnOpenReportIsResolvedOnce) {
  using S = OutputReportState;
  using E = OutputReportEvent;
  EXPECT_EQ(Next(S::kOpen, E::kConfirm).value(), S::kConfirmed);
  EXPECT_EQ(Next(S::kOpen, E::kDismiss).value(), S::kDismissed);
  for (const S state : {S::kConfirmed, S::kDismissed}) {
    for (const E event : kAllOutputReportEvents) {
      EXPECT_THAT(Next(state, event),
                  StatusIs(absl::StatusCode::kFailedPrecondition,
                           "cannot " + ToString(event) + " a report that is " + ToString(state)));
    }
  }
}

}  // namespace
}  // namespace wardtune
