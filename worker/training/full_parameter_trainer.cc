#include "worker/training/full_parameter_trainer.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/free_memory.h"
#include "base/status_macros.h"
#include "worker/model/decoder_forward.h"
#include "worker/model/torch_boundary.h"
#include "worker/model/torch_ops.h"
#include "worker/training/early_stopping.h"
#include "worker/training/full_parameter_memory.h"
#include "worker/training/full_parameter_optimizer.h"
#include "worker/training/gradient_exchange.h"
#include "worker/training/memory_estimate.h"
#include "worker/training/row_prefixes.h"
#include "worker/training/trainer_validation.h"
#include "worker/training/training_plan.h"

namespace wardtune {
namespace {

using StepRow = TrainingPlan::StepRow;

// Shares everything but the projections, whose memory is its own and not yet filled.
std::shared_ptr<ModelWeights> CopyWithOwnProjections(const ModelWeights& from) {
  auto copy = std::make_shared<ModelWeights>(from);
  for (LayerWeights& layer : copy->layers) {
    for (LinearWeights& linear : layer.linear) linear.weight = at::empty_like(linear.weight);
  }
  return copy;
}

absl::Status CheckSameShape(const ModelWeights& model, const ModelWeights& run) {
  if (model.layers.size() != run.layers.size()) {
    return absl::InvalidArgumentError("base: its number of layers is not that of the run");
  }
  for (size_t l = 0; l < model.layers.size(); ++l) {
    for (int i = 0; i < kFusedLinearCount; ++i) {
      if (model.layers[l].linear[i].weight.sizes() != run.layers[l].linear[i].weight.sizes()) {
        return absl::InvalidArgumentError("base: its weights have other shapes than the run's");
      }
    }
  }
  return absl::OkStatus();
}

class ProjectionTrainer final : public FullParameterTrainer {
 public:
  ProjectionTrainer(const TrainerOptions& options, std::vector<TrainingStream> streams,
                    DecoderModel base, Clock* clock)
      : plan_(options, std::move(streams)),
        base_(std::move(base)),
        clock_(clock),
        optimizer_(plan_.WeightsOf(0),
                   {options.beta1, options.beta2, options.epsilon, options.weight_decay}),
        gradients_(WeightGradients::ZerosLike(plan_.WeightsOf(0))) {
    if (options.validation.active()) validation_.emplace(options.validation);
    for (size_t stream = 0; stream < plan_.streams().size(); ++stream) AddStream(stream);
    RefreshWorkingWeights();
  }

  TrainingPlan& plan() { return plan_; }

  int64_t step() const override { return plan_.step(); }
  int64_t total_steps() const override {
    return validation_ && validation_->ShouldStop() ? plan_.step() : plan_.total_steps();
  }
  DecoderModel working_model(size_t stream) const override {
    return DecoderModel(models_[model_of_[stream]].working);
  }
  WeightDelta Delta() const override { return optimizer_.Delta(plan_.WeightsOf(0).config); }

  absl::StatusOr<StepReport> Step() override {
    if (done()) return absl::FailedPreconditionError("the run has no step left");
    WT_ASSIGN_OR_RETURN(StepReport report,
                        AtTorchBoundary("full-parameter training step", [&] { return RunStep(); }));
    if (validation_ && validation_->IsDue(report.step, plan_.total_steps())) {
      WT_ASSIGN_OR_RETURN(report.validation_loss, Measure(report.step));
      report.total_steps = total_steps();
    }
    return report;
  }

  absl::StatusOr<std::vector<ModelAtStep>> Candidates() const override {
    if (best() != nullptr) return validation_->kept();
    WT_ASSIGN_OR_RETURN(DecoderModel model, AddTo(base_));
    return std::vector<ModelAtStep>{{std::move(model), step(), std::nullopt}};
  }
  const ModelAtStep* best() const override { return validation_ ? validation_->best() : nullptr; }

  absl::StatusOr<DecoderModel> AddTo(const DecoderModel& model) const override {
    WT_RETURN_IF_ERROR(CheckSameShape(*model.weights(), plan_.WeightsOf(0)));
    const ModelWeights& to = *model.weights();
    return AtTorchBoundary("adding the trained change", [&]() -> absl::StatusOr<DecoderModel> {
      const c10::InferenceMode guard;
      auto result = CopyWithOwnProjections(to);
      optimizer_.Write(to, *result);
      return DecoderModel(std::move(result));
    });
  }

 private:
  // A model that rows run on, as the run found it and with the change.
  struct Model {
    const ModelWeights* start;
    std::shared_ptr<ModelWeights> working;
  };

  absl::StatusOr<double> Measure(int64_t step) {
    WT_ASSIGN_OR_RETURN(const double measured,
                        HeldOutLoss(working_model(0), {}, validation_->options(),
                                    plan_.options().micro_batch_tokens, step));
    WT_ASSIGN_OR_RETURN(const double loss, plan_.AgreeOn(measured));
    if (validation_->Add(loss)) {
      WT_ASSIGN_OR_RETURN(DecoderModel model, AddTo(base_));
      validation_->Keep({std::move(model), step, loss});
    }
    return loss;
  }

  // Streams on the same weights share a working copy.
  void AddStream(size_t stream) {
    const ModelWeights* const start = &plan_.WeightsOf(stream);
    const auto known = std::find_if(models_.begin(), models_.end(),
                                    [&](const Model& model) { return model.start == start; });
    model_of_.push_back(static_cast<size_t>(known - models_.begin()));
    if (known == models_.end()) models_.push_back({start, CopyWithOwnProjections(*start)});
  }

  void RefreshWorkingWeights() {
    for (const Model& model : models_) optimizer_.Write(*model.start, *model.working);
  }

  absl::StatusOr<StepReport> RunStep() {
    const c10::InferenceMode guard;
    const absl::Duration start = clock_->Monotonic();
    const size_t streams = plan_.streams().size();
    std::vector<std::vector<StepRow>> ours(streams);
    std::vector<int64_t> stream_tokens(streams, 0);
    std::vector<double> loss_sums(streams, 0.0);
    int64_t tokens = 0;
    for (const StepRow& row : plan_.RowsOfStep()) {
      stream_tokens[row.stream] += plan_.SupervisedIn(row);
      tokens += static_cast<int64_t>(plan_.RowOf(row).ids.size());
      if (row.ours) ours[row.stream].push_back(row);
    }
    gradients_.SetToZero();
    for (size_t s = 0; s < streams; ++s) loss_sums[s] = RunStream(ours[s], stream_tokens[s]);
    WT_ASSIGN_OR_RETURN(StepReport report, Finish(std::move(loss_sums), stream_tokens, tokens));
    report.seconds = absl::ToDoubleSeconds(clock_->Monotonic() - start);
    return report;
  }

  // The summed loss of a stream's rows; their gradients are added.
  double RunStream(std::span<const StepRow> rows, int64_t stream_tokens) {
    std::vector<int64_t> lengths;
    for (const StepRow& row : rows) {
      lengths.push_back(static_cast<int64_t>(plan_.RowOf(row).ids.size()));
    }
    if (rows.empty()) return 0.0;
    double loss = 0.0;
    const std::vector<size_t> cuts = CutByTokens(lengths, plan_.options().micro_batch_tokens);
    for (size_t c = 0; c + 1 < cuts.size(); ++c) {
      loss += RunMicroBatch(rows.subspan(cuts[c], cuts[c + 1] - cuts[c]), stream_tokens);
    }
    return loss;
  }

  double RunMicroBatch(std::span<const StepRow> rows, int64_t stream_tokens) {
    const ModelWeights& weights = *models_[model_of_[rows[0].stream]].working;
    std::vector<const TrainingRow*> packed;
    for (const StepRow& row : rows) packed.push_back(&plan_.RowOf(row));
    const PackedTokens tokens = PackRows(packed, plan_.options().share_prefixes, weights.device);
    std::vector<LayerActivations> activations;
    ForwardHooks hooks;
    hooks.activations = &activations;
    hooks.keep_inputs_only = plan_.options().recompute_activations;
    const at::Tensor x = RunLayers(weights, LoraSegments(), tokens, hooks);
    at::Tensor d_x = at::zeros_like(x);
    const double loss = plan_.RowsLoss(weights, rows, tokens.offsets, stream_tokens, x, d_x);
    BackwardLayers(weights, {}, tokens, activations, d_x, {}, {.weights = &gradients_});
    return loss;
  }

  absl::StatusOr<StepReport> Finish(std::vector<double> loss_sums,
                                    const std::vector<int64_t>& stream_tokens, int64_t tokens) {
    optimizer_.SetGradients(gradients_);
    WT_RETURN_IF_ERROR(plan_.AddUpLosses(loss_sums));
    if (GradientExchange* const exchange = plan_.options().exchange; exchange != nullptr) {
      for (const std::span<float> matrix : optimizer_.gradients()) {
        WT_RETURN_IF_ERROR(exchange->Sum(matrix));
      }
    }
    WT_ASSIGN_OR_RETURN(StepReport report,
                        plan_.Report(loss_sums, stream_tokens, tokens, optimizer_.MeasureNorm()));
    optimizer_.Apply(report.step, report.learning_rate, plan_.options().max_grad_norm);
    RefreshWorkingWeights();
    plan_.Advance();
    return report;
  }

  TrainingPlan plan_;
  const DecoderModel base_;
  Clock* const clock_;
  FullParameterOptimizer optimizer_;
  WeightGradients gradients_;
  std::vector<Model> models_;
  std::vector<size_t> model_of_;  // per stream
  std::optional<EarlyStopping<ModelAtStep>> validation_;
};

// Working copies and optimizer state must fit before anything is allocated.
absl::Status CheckMemory(const TrainerOptions& options,
                         const std::vector<TrainingStream>& streams) {
  const auto free_bytes = FreeHostMemory();
  if (absl::IsUnavailable(free_bytes.status())) return absl::OkStatus();
  WT_RETURN_IF_ERROR(free_bytes.status());
  return CheckFullParameterMemory(streams[0].model.config(), streams[0].model.compute_type(),
                                  FullParameterCopies(streams, options.validation), *free_bytes);
}

}  // namespace

absl::StatusOr<std::unique_ptr<FullParameterTrainer>> FullParameterTrainer::Create(
    const TrainerOptions& options, std::vector<TrainingStream> streams, DecoderModel base,
    Clock* clock) {
  WT_RETURN_IF_ERROR(ValidateTraining(options, streams));
  WT_RETURN_IF_ERROR(CheckSameShape(*base.weights(), *streams[0].model.weights()));
  if (options.start) {
    return absl::InvalidArgumentError(
        "start: full-parameter training has no adapter to start from");
  }
  if (options.proximal_weight != 0.0) {
    return absl::InvalidArgumentError("proximal_weight: holds adapters only");
  }
  for (const TrainingStream& stream : streams) {
    if (stream.frozen != nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(
          "stream '", stream.name, "': full-parameter training has adapters folded in"));
    }
  }
  WT_RETURN_IF_ERROR(CheckMemory(options, streams));
  return AtTorchBoundary("preparing full-parameter training",
                         [&]() -> absl::StatusOr<std::unique_ptr<FullParameterTrainer>> {
                           const c10::InferenceMode guard;
                           auto trainer = std::make_unique<ProjectionTrainer>(
                               options, std::move(streams), std::move(base), clock);
                           WT_RETURN_IF_ERROR(trainer->plan().CheckSameEverywhere());
                           trainer->plan().PrepareTeachers();
                           return trainer;
                         });
}

}  // namespace wardtune
