#include "worker/agent/attempt.h"

#include <google/protobuf/util/time_util.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "worker/agent/job_error.h"

namespace wardtune {

Attempt::Attempt(const v1::Lease& lease, WorkerClient& client, LeaseKeeper& keeper,
                 ComputeTurns& turns, EventLog& log, Clock& clock)
    : lease_(lease),
      client_(client),
      keeper_(keeper),
      turns_(turns),
      log_(log),
      clock_(clock),
      started_(clock.Monotonic()) {}

const v1::WorkInput* Attempt::FindInput(v1::WorkInput::Kind kind) const {
  for (const v1::WorkInput& input : lease_.inputs()) {
    if (input.kind() == kind) return &input;
  }
  return nullptr;
}

bool Attempt::HasInput(v1::WorkInput::Kind kind) const { return FindInput(kind) != nullptr; }

std::string Attempt::InputDigest(v1::WorkInput::Kind kind) const {
  const v1::WorkInput* input = FindInput(kind);
  return input == nullptr ? "" : input->sha256();
}

int64_t Attempt::InputSize(v1::WorkInput::Kind kind) const {
  const v1::WorkInput* input = FindInput(kind);
  return input == nullptr ? 0 : input->size_bytes();
}

absl::StatusOr<std::string> Attempt::Fetch(v1::WorkInput::Kind kind,
                                           std::string_view missing_reason) {
  const v1::WorkInput* input = FindInput(kind);
  if (input == nullptr) {
    return WithJobReason(
        missing_reason,
        absl::NotFoundError(absl::StrCat("the lease names no ", v1::WorkInput::Kind_Name(kind))));
  }
  const ComputeTurns::Away away(turns_);
  auto bytes = client_.FetchInput(lease_, *input, [this] { return !GoOn().ok(); });
  if (bytes.ok()) return bytes;
  keeper_.NoteStatus(bytes.status());
  if (bytes.status().code() == absl::StatusCode::kNotFound) {
    return WithJobReason(missing_reason, bytes.status());
  }
  if (bytes.status().code() == absl::StatusCode::kDataLoss) {
    return WithJobReason(kInputDamaged, bytes.status());
  }
  return bytes.status();
}

absl::StatusOr<std::string> Attempt::Upload(v1::UploadArtifactRequest::Kind kind,
                                            std::string_view bytes, int64_t step) {
  const ComputeTurns::Away away(turns_);
  const absl::Status status =
      client_.UploadArtifact(lease_, kind, bytes, step, [this] { return !GoOn().ok(); });
  keeper_.NoteStatus(status);
  WT_RETURN_IF_ERROR(status);
  log_.Write("artifact_uploaded", {{"work", lease_.work()},
                                   {"kind", v1::UploadArtifactRequest::Kind_Name(kind)},
                                   {"bytes", static_cast<int64_t>(bytes.size())},
                                   {"step", step}});
  return Sha256Hex(bytes);
}

absl::StatusOr<v1::SafetyGate> Attempt::Judge(const v1::SafetyReport& before,
                                              const v1::SafetyReport& after) {
  v1::JudgeScoresRequest request;
  request.set_work(lease_.work());
  request.set_attempt(lease_.attempt());
  *request.mutable_safety_before() = before;
  *request.mutable_safety_after() = after;
  const ComputeTurns::Away away(turns_);
  auto gate = client_.JudgeScores(request, [this] { return !GoOn().ok(); });
  keeper_.NoteStatus(gate.status());
  return gate;
}

absl::Status Attempt::Complete(v1::CompleteJobRequest request) {
  request.set_work(lease_.work());
  request.set_attempt(lease_.attempt());
  // Not away at first: a job that has ended would wait for others only to leave.
  absl::Status status = client_.CompleteJob(request, [] { return true; });
  if (IsTransient(status)) {
    const ComputeTurns::Away away(turns_);
    // A cancel that came now is the server's to weigh: the result may be there already.
    status = client_.CompleteJob(request, [this] {
      const StopReason reason = keeper_.stop_reason();
      return reason == StopReason::kLeaseLost || reason == StopReason::kShutdown;
    });
  }
  keeper_.NoteStatus(status);
  return status;
}

void Attempt::StartPhase(v1::FineTuningJob::Phase phase, double from_percent, double to_percent) {
  from_percent_ = from_percent;
  to_percent_ = to_percent;
  keeper_.SetPhase(phase);
  Advance(0, 1);
  log_.Write("phase", {{"work", lease_.work()},
                       {"attempt", int64_t{lease_.attempt()}},
                       {"phase", v1::FineTuningJob::Phase_Name(phase)},
                       {"seconds", absl::ToDoubleSeconds(clock_.Monotonic() - started_)}});
}

void Attempt::Advance(int64_t done, int64_t total) {
  const double share = static_cast<double>(done) / static_cast<double>(std::max<int64_t>(total, 1));
  const double percent =
      from_percent_ + (to_percent_ - from_percent_) * std::clamp(share, 0.0, 1.0);
  progress_.set_percent(percent);
  // The phases' shares are rough, so the rest is taken from the time that the share so far took.
  if (percent > 1.0) {
    const absl::Duration elapsed = clock_.Monotonic() - started_;
    *progress_.mutable_remaining() = google::protobuf::util::TimeUtil::MillisecondsToDuration(
        absl::ToInt64Milliseconds(elapsed * ((100.0 - percent) / percent)));
  }
  keeper_.SetProgress(progress_);
}

void Attempt::ReportStep(const StepReport& report) {
  progress_.set_step(report.step);
  progress_.set_total_steps(report.total_steps);
  // Loss and speed of the customer's own rows; those beside them are the provider's.
  progress_.set_loss(report.stream_losses.empty() ? report.loss : report.stream_losses[0]);
  progress_.set_learning_rate(report.learning_rate);
  progress_.set_grad_norm(report.grad_norm);
  if (report.seconds > 0.0) {
    // Smoothed over about ten steps.
    const double now = static_cast<double>(report.first_stream_tokens) / report.seconds;
    const double before = progress_.tokens_per_second();
    progress_.set_tokens_per_second(before > 0.0 ? 0.9 * before + 0.1 * now : now);
  }
  Advance(report.step, report.total_steps);
}

void Attempt::ReportBest(int64_t step, double validation_loss) {
  progress_.set_best_step(step);
  progress_.set_best_validation_loss(validation_loss);
}

void Attempt::ReportRowScan(v1::RowScanOutcome outcome) {
  row_scan_ = std::move(outcome);
  const v1::RowScanReport& report = row_scan_.report();
  log_.Write("rows_scanned", {{"work", lease_.work()},
                              {"rows", report.rows_scanned()},
                              {"suspicious", report.suspicious_rows()},
                              {"dropped", report.dropped_rows()}});
  keeper_.SetRowScan(row_scan_);
  const ComputeTurns::Away away(turns_);
  keeper_.Beat();
}

std::function<bool(int64_t)> Attempt::PromptProgress(int64_t total) {
  return [this, total](int64_t finished) {
    Advance(finished, total);
    return GoOn().ok();
  };
}

}  // namespace wardtune
