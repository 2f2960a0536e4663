// One leased attempt at a piece of work, as the stages of a run see it: inputs in, progress and
// artefacts out, and the answer to "shall I go on?".
// Thread safety: an Attempt belongs to the thread that runs the work; its heartbeats have their
// own. That thread has the turn (worker/agent/compute_turns.h); calls to the server give it up
// meanwhile.
#ifndef WARDTUNE_WORKER_AGENT_ATTEMPT_H_
#define WARDTUNE_WORKER_AGENT_ATTEMPT_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "wardtune/v1/worker_service.pb.h"
#include "worker/agent/compute_turns.h"
#include "worker/agent/event_log.h"
#include "worker/agent/lease_keeper.h"
#include "worker/agent/worker_client.h"
#include "worker/training/trainer.h"

namespace wardtune {

class Attempt {
 public:
  // All references must outlive the attempt.
  Attempt(const v1::Lease& lease, WorkerClient& client, LeaseKeeper& keeper, ComputeTurns& turns,
          EventLog& log, Clock& clock);

  const v1::Lease& lease() const { return lease_; }
  EventLog& log() { return log_; }
  Clock& clock() { return clock_; }

  bool HasInput(v1::WorkInput::Kind kind) const;
  // The input's bytes, checked against the lease. `missing_reason` is the job's reason when the
  // lease or the server lacks it.
  absl::StatusOr<std::string> Fetch(v1::WorkInput::Kind kind, std::string_view missing_reason);
  // The digest that the lease gives; empty without such an input.
  std::string InputDigest(v1::WorkInput::Kind kind) const;
  // The size that the lease gives; 0 without such an input.
  int64_t InputSize(v1::WorkInput::Kind kind) const;

  // Returns the digest of the stored bytes.
  absl::StatusOr<std::string> Upload(v1::UploadArtifactRequest::Kind kind, std::string_view bytes,
                                     int64_t step);
  // What the safety gate would make of a result with these scores.
  absl::StatusOr<v1::SafetyGate> Judge(const v1::SafetyReport& before,
                                       const v1::SafetyReport& after);
  absl::Status Complete(v1::CompleteJobRequest request);

  // Enters a phase that covers [from_percent, to_percent] of the work.
  void StartPhase(v1::FineTuningJob::Phase phase, double from_percent, double to_percent);
  // `done` of `total` parts of the phase.
  void Advance(int64_t done, int64_t total);
  void ReportStep(const StepReport& report);
  // The best loss on held-out rows so far, and the step that it was measured after.
  void ReportBest(int64_t step, double validation_loss);
  void ReportSafetyBefore(const v1::SafetyReport& report) { keeper_.SetSafetyBefore(report); }
  // Tells the server at once: a later attempt must train on the rows of this one.
  void ReportRowScan(v1::RowScanOutcome outcome);

  // OK, or CANCELLED when the attempt must end.
  absl::Status GoOn() const { return keeper_.GoOn(); }
  StopReason stop_reason() const { return keeper_.stop_reason(); }
  // For Generate and ScanRows: reports progress over `total` prompts or rows and tells whether to
  // go on.
  std::function<bool(int64_t)> PromptProgress(int64_t total);

  const v1::Progress& progress() const { return progress_; }
  // Without a report until ReportRowScan.
  const v1::RowScanOutcome& row_scan() const { return row_scan_; }

 private:
  const v1::WorkInput* FindInput(v1::WorkInput::Kind kind) const;

  const v1::Lease& lease_;
  WorkerClient& client_;
  LeaseKeeper& keeper_;
  ComputeTurns& turns_;
  EventLog& log_;
  Clock& clock_;

  absl::Duration started_;
  double from_percent_ = 0.0;
  double to_percent_ = 0.0;
  v1::Progress progress_;
  v1::RowScanOutcome row_scan_;
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_AGENT_ATTEMPT_H_
