#include "bench/unlearnable/vaccine.h"

#include <cmath>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "bench/training_run.h"
#include "worker/model/decoder_forward.h"
#include "worker/model/lora_runtime.h"
#include "worker/model/torch_boundary.h"
#include "worker/model/torch_ops.h"
#include "worker/training/decoder_backward.h"
#include "worker/training/training_job.h"

namespace wardtune {
namespace {

class VaccineTrainer {
 public:
  VaccineTrainer(TrainingJob& job, double radius, Clock* clock,
                 const std::function<void(const StepReport&)>& on_step)
      : job_(job), radius_(radius), clock_(clock), on_step_(on_step) {}

  bool done() const { return job_.done(); }

  absl::StatusOr<StepReport> Step() {
    WT_ASSIGN_OR_RETURN(StepReport report,
                        AtTorchBoundary("vaccine step", [&] { return RunStep(); }));
    on_step_(report);
    return report;
  }

 private:
  struct Pass {
    double loss = 0.0;
    LoraGradients gradients;
    std::vector<at::Tensor> attention_gradients;
  };

  absl::StatusOr<StepReport> RunStep() {
    const c10::InferenceMode guard;
    const absl::Duration start = clock_->Monotonic();
    rows_ = job_.RowsOfStep();
    stream_tokens_ = 0;
    std::vector<std::span<const int32_t>> views;
    for (const TrainingPlan::StepRow& row : rows_) {
      stream_tokens_ += job_.SupervisedIn(row);
      views.emplace_back(job_.RowOf(row).ids);
    }
    const ModelWeights& weights = job_.WeightsOf(0);
    const PackedTokens tokens = PackTokens(views, weights.device);
    const LoraAdapter* const active[] = {&job_.adapter()};
    WT_ASSIGN_OR_RETURN(const LoraRuntime lora, MakeLoraRuntime(weights, active));
    Pass pass = RunPass(weights, lora, tokens, {});
    if (radius_ > 0.0) pass = RunPass(weights, lora, tokens, Shifts(pass.attention_gradients));
    WT_ASSIGN_OR_RETURN(StepReport report, job_.Finish(pass.gradients, {pass.loss},
                                                       {stream_tokens_}, tokens.offsets.back()));
    report.seconds = absl::ToDoubleSeconds(clock_->Monotonic() - start);
    return report;
  }

  Pass RunPass(const ModelWeights& weights, const LoraRuntime& lora, const PackedTokens& tokens,
               std::span<const at::Tensor> shifts) {
    std::vector<LayerActivations> activations;
    const ForwardHooks hooks = {.activations = &activations, .attention_shifts = shifts};
    const LoraSegment all{0, tokens.offsets.back(), &lora};
    const at::Tensor x = RunLayers(weights, {&all, 1}, tokens, hooks);
    at::Tensor d_x = at::zeros_like(x);
    Pass pass{.gradients = LoraGradients::ZerosLike(lora)};
    pass.loss = job_.RowsLoss(weights, rows_, tokens.offsets, stream_tokens_, x, d_x);
    LoraGradients* const gradients[] = {&pass.gradients};
    BackwardLayers(weights, {&all, 1}, tokens, activations, d_x, gradients,
                   {.attention = &pass.attention_gradients});
    return pass;
  }

  // Steepest ascent: radius * g / |g|, with the norm over all layers.
  std::vector<at::Tensor> Shifts(const std::vector<at::Tensor>& gradients) const {
    double squares = 0.0;
    for (const at::Tensor& gradient : gradients) {
      squares += gradient.to(at::kFloat).square().sum().item<double>();
    }
    std::vector<at::Tensor> shifts;
    const double scale = squares > 0.0 ? radius_ / std::sqrt(squares) : 0.0;
    for (const at::Tensor& gradient : gradients) shifts.push_back(gradient * scale);
    return shifts;
  }

  TrainingJob& job_;
  const double radius_;
  Clock* const clock_;
  const std::function<void(const StepReport&)>& on_step_;
  std::vector<TrainingPlan::StepRow> rows_;  // of the step that is under way
  int64_t stream_tokens_ = 0;
};

}  // namespace

absl::StatusOr<LoraAdapter> TrainVaccine(const TrainerOptions& options,
                                         const TrainingStream& alignment, double radius,
                                         Clock* clock,
                                         const std::function<void(const StepReport&)>& on_step) {
  if (!(radius >= 0.0) || std::isinf(radius)) {
    return absl::InvalidArgumentError("radius: must be a number of at least 0");
  }
  if (!options.validation.rows.empty() || options.recompute_activations ||
      options.exchange != nullptr || alignment.frozen != nullptr ||
      alignment.objective != Objective::kCrossEntropy) {
    return absl::InvalidArgumentError(
        "vaccine: takes no validation rows, checkpointed activations, exchange or frozen adapter, "
        "and cross-entropy alone");
  }
  WT_ASSIGN_OR_RETURN(const auto job, TrainingJob::Create(options, {alignment}));
  VaccineTrainer trainer(*job, radius, clock, on_step);
  WT_RETURN_IF_ERROR(RunToEnd(trainer, "vaccine"));
  return job->adapter();
}

}  // namespace wardtune
