// The training stage of a customer's job, for adapters and for the weights themselves.
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/agent/fine_tuning_run.h"
#include "worker/agent/job_error.h"
#include "worker/agent/training_loop.h"
#include "worker/agent/training_room.h"
#include "worker/agent/training_settings.h"
#include "worker/security/guard_rows.h"
#include "worker/training/full_parameter_trainer.h"
#include "worker/training/trainer.h"

namespace wardtune {
namespace {

// Checkpoints that are scored where a lease does not say how many. Each costs one more score.
constexpr int kScoredCheckpoints = 3;

constexpr char kGuardsNotOnBase[] = "guard rows did not run on the plain base";

// A trainer refuses rows and hyperparameters, which are the customer's.
absl::Status CreationError(const absl::Status& status) {
  return absl::IsInvalidArgument(status) ? WithJobReason(kInputInvalid, status) : status;
}

}  // namespace

// The customer's rows run with the vector on, the provider's guard rows beside them with it off:
// both on the base's weights, so that they share its products, and the vector as an adapter of the
// customer's rows (docs/adr/0014). Without guard rows, and where the weights themselves are
// trained, the vector is folded in.
std::vector<TrainingStream> FineTuningRun::MakeStreams(std::vector<TrainingRow> rows) {
  const int64_t batch = work_.hyperparameters().batch_size();
  std::vector<TrainingStream> streams;
  streams.push_back(
      {.name = "customer", .rows = std::move(rows), .model = *folded_, .rows_per_step = batch});
  if (!vector_->guard.active()) return streams;
  for (TrainingStream& stream : GuardStreams(vector_->guard, base_->model, batch)) {
    streams.push_back(std::move(stream));
  }
  if (IsFullParameter(work_.hyperparameters())) return streams;
  streams[0].model = base_->model;
  streams[0].frozen = std::make_shared<const LoraAdapter>(vector_->adapter);
  folded_.reset();
  return streams;
}

// What counts is what the trainer holds, not what it was meant to get.
absl::Status FineTuningRun::CheckTrainedWithVector(const Trainer& trainer) const {
  const std::string weights = trainer.model(0).WeightsDigest();
  const LoraAdapter* const frozen = trainer.frozen(0);
  for (size_t stream = 1; stream <= vector_->guard.kinds(); ++stream) {
    if (trainer.frozen(stream) != nullptr ||
        trainer.model(stream).weights() != base_->model.weights()) {
      return SecurityVectorError(absl::DataLossError(kGuardsNotOnBase));
    }
  }
  const bool as_promised = frozen == nullptr
                               ? weights == proof_.folded_sha256()
                               : weights == base_->weights_sha256 &&
                                     AdapterDigest(*frozen) == AdapterDigest(vector_->adapter);
  if (as_promised) return absl::OkStatus();
  return SecurityVectorError(
      absl::DataLossError("training did not run with the security vector to its end"));
}

void FineTuningRun::NameGuardRows(const DecoderModel& ran_on) {
  proof_.set_guard_rows_sha256(GuardDigest(vector_->guard));
  proof_.set_guard_weights_sha256(ran_on.WeightsDigest());
}

absl::Status FineTuningRun::TrainAdapter(const TrainerOptions& options,
                                         std::vector<TrainingStream> streams) {
  auto trainer = Trainer::Create(options, std::move(streams), &attempt_.clock());
  WT_RETURN_IF_ERROR(CreationError(trainer.status()));
  CountHeld(memory_, base_->model);

  const DecoderModel& trained_on = (*trainer)->model(0);
  const LoraAdapter* const frozen = (*trainer)->frozen(0);
  TrainingHooks hooks;
  hooks.check = [&] {
    return SecurityVectorError(frozen == nullptr ? activation_->Check(trained_on)
                                                 : activation_->CheckBeside(trained_on, *frozen));
  };
  WT_RETURN_IF_ERROR(RunTraining(**trainer, attempt_, environment_.checkpoints, hooks));
  for (AdapterAtStep& candidate : (*trainer)->Candidates()) {
    checkpoints_.push_back({.step = candidate.step,
                            .validation_loss = candidate.validation_loss,
                            .result = std::move(candidate.adapter)});
  }
  WT_RETURN_IF_ERROR(CheckTrainedWithVector(**trainer));
  if (vector_->guard.active()) NameGuardRows((*trainer)->model(1));
  return absl::OkStatus();
}

// What counts is what rows ran on at the end: the weights that were promised and the trained
// change, to the bit.
absl::Status FineTuningRun::CheckTrainedFully(const FullParameterTrainer& trainer) const {
  const auto changed = [&](const DecoderModel& promised) -> absl::StatusOr<std::string> {
    WT_ASSIGN_OR_RETURN(const DecoderModel model, trainer.AddTo(promised));
    return model.WeightsDigest();
  };
  WT_ASSIGN_OR_RETURN(const std::string with_vector, changed(*folded_));
  if (folded_->WeightsDigest() != proof_.folded_sha256() ||
      with_vector != trainer.working_model(0).WeightsDigest()) {
    return SecurityVectorError(
        absl::DataLossError("training did not run with the security vector to its end"));
  }
  if (!vector_->guard.active()) return absl::OkStatus();
  WT_ASSIGN_OR_RETURN(const std::string on_base, changed(base_->model));
  for (size_t stream = 1; stream <= vector_->guard.kinds(); ++stream) {
    if (on_base != trainer.working_model(stream).WeightsDigest()) {
      return SecurityVectorError(absl::DataLossError(kGuardsNotOnBase));
    }
  }
  return absl::OkStatus();
}

absl::Status FineTuningRun::TrainFully(const TrainerOptions& options,
                                       std::vector<TrainingStream> streams) {
  auto trainer =
      FullParameterTrainer::Create(options, std::move(streams), base_->model, &attempt_.clock());
  WT_RETURN_IF_ERROR(CreationError(trainer.status()));
  CountHeld(memory_, base_->model);
  WT_RETURN_IF_ERROR(RunTraining(**trainer, attempt_, environment_.turns, [&] {
    return SecurityVectorError(activation_->Check(*folded_));
  }));
  WT_RETURN_IF_ERROR(CheckTrainedFully(**trainer));
  WT_ASSIGN_OR_RETURN(std::vector<ModelAtStep> candidates, (*trainer)->Candidates());
  for (ModelAtStep& candidate : candidates) {
    checkpoints_.push_back({.step = candidate.step,
                            .validation_loss = candidate.validation_loss,
                            .result = std::move(candidate.model)});
  }
  if (vector_->guard.active()) NameGuardRows(base_->model);
  return absl::OkStatus();
}

absl::Status FineTuningRun::Train() {
  attempt_.StartPhase(v1::FineTuningJob::PHASE_TRAINING, 18, 80);
  std::vector<TrainingRow> rows = std::exchange(rows_, {}).rows;
  auto options = ToTrainerOptions(work_.hyperparameters());
  if (!options.ok()) return WithJobReason(kInputInvalid, options.status());
  options->start = std::exchange(start_, std::nullopt);
  options->validation.keep =
      work_.scored_checkpoints() > 0 ? work_.scored_checkpoints() : kScoredCheckpoints;
  options->validation.rows =
      TakeHeldOut(rows, work_.hyperparameters().validation_fraction(), options->seed);
  // A stop waits for the measurement: without it the step could not be saved.
  options->validation.go_on = [this] {
    const StopReason stop = attempt_.stop_reason();
    return stop != StopReason::kCancelled && stop != StopReason::kLeaseLost;
  };
  if (options->validation.every_steps == 0) {  // an epoch
    const int64_t batch = work_.hyperparameters().batch_size();
    options->validation.every_steps = (static_cast<int64_t>(rows.size()) + batch - 1) / batch;
  }
  std::vector<TrainingStream> streams = MakeStreams(std::move(rows));
  // The customer's limit is for the customer's rows, which are cut to it.
  for (const TrainingStream& stream : streams) {
    for (const TrainingRow& row : stream.rows) {
      options->max_row_tokens =
          std::max(options->max_row_tokens, static_cast<int64_t>(row.ids.size()));
    }
  }
  const bool fully = IsFullParameter(work_.hyperparameters());
  // Refuses before the first step what cannot fit.
  WT_ASSIGN_OR_RETURN(
      memory_, MakeRoomForTraining(environment_, attempt_, streams,
                                   fully ? TrainedPart::kWeights : TrainedPart::kLora, *options));
  if (fully) return TrainFully(*options, std::move(streams));
  WT_RETURN_IF_ERROR(TrainAdapter(*options, std::move(streams)));
  memory_ = {};
  return absl::OkStatus();
}

}  // namespace wardtune
