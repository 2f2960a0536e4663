#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "worker/model/decoder_forward.h"
#include "worker/model/seeded_random.h"
#include "worker/model/torch_boundary.h"
#include "worker/model/torch_ops.h"
#include "worker/training/decoder_backward.h"
#include "worker/training/lora_optimizer.h"
#include "worker/training/row_order.h"
#include "worker/training/supervised_loss.h"
#include "worker/training/trainer.h"
#include "worker/training/trainer_validation.h"

namespace wardtune {
namespace {

// A row of a step and where it comes from.
struct StepRow {
  size_t stream;
  int64_t index;
};

// The positions of a row whose next token is supervised; `targets` receives those tokens.
void AppendSupervised(const TrainingRow& row, int64_t offset, std::vector<int64_t>& positions,
                      std::vector<int64_t>* targets) {
  for (size_t i = 1; i < row.ids.size(); ++i) {
    if (row.loss_mask[i] == 0) continue;
    positions.push_back(offset + static_cast<int64_t>(i) - 1);
    if (targets != nullptr) targets->push_back(row.ids[i]);
  }
}

class LoraTrainer final : public Trainer {
 public:
  LoraTrainer(const TrainerOptions& options, std::vector<TrainingStream> streams, Clock* clock,
              LoraAdapter start)
      : options_(options),
        streams_(std::move(streams)),
        clock_(clock),
        fingerprint_(TrainingFingerprint(options_, streams_)),
        optimizer_(streams_[0].model.config(), std::move(start),
                   {options.beta1, options.beta2, options.epsilon, options.weight_decay}),
        supervised_(streams_.size()),
        teacher_(streams_.size()) {
    for (size_t s = 0; s < streams_.size(); ++s) {
      orders_.emplace_back(MixSeed(options.seed, s + 1),
                           static_cast<int64_t>(streams_[s].rows.size()), options.shuffle);
      for (const TrainingRow& row : streams_[s].rows) {
        supervised_[s].push_back(SupervisedTokens(row));
      }
    }
    const auto rows = static_cast<int64_t>(streams_[0].rows.size());
    steps_per_epoch_ = (rows + streams_[0].rows_per_step - 1) / streams_[0].rows_per_step;
    total_steps_ = options.max_steps > 0 ? options.max_steps : options.epochs * steps_per_epoch_;
  }

  // Computes what KL streams are held to. Done once, in a fixed order, so that the numbers do not
  // depend on the step at which a run resumes.
  void PrepareTeachers() {
    const c10::InferenceMode guard;
    for (size_t s = 0; s < streams_.size(); ++s) {
      if (streams_[s].objective != Objective::kKlToBase) continue;
      std::vector<StepRow> rows;
      for (size_t i = 0; i < streams_[s].rows.size(); ++i) {
        rows.push_back({s, static_cast<int64_t>(i)});
      }
      for (const auto& batch : MicroBatches(rows)) {
        const ModelWeights& weights = *streams_[s].model.weights();
        const PackedTokens tokens = Pack(batch);
        const at::Tensor x = RunLayers(weights, {}, tokens);
        for (size_t i = 0; i < batch.size(); ++i) {
          std::vector<int64_t> positions;
          AppendSupervised(RowOf(batch[i]), tokens.offsets[i], positions, nullptr);
          teacher_[s].push_back(x.index_select(0, Index(positions, weights.device)));
        }
      }
    }
  }

  int64_t step() const override { return step_; }
  int64_t total_steps() const override { return total_steps_; }
  const DecoderModel& model(size_t stream) const override { return streams_[stream].model; }
  LoraAdapter Adapter() const override { return optimizer_.adapter(); }

  absl::StatusOr<StepReport> Step() override {
    if (done()) return absl::FailedPreconditionError("the run has no step left");
    return AtTorchBoundary("training step", [&] { return StepImpl(); });
  }

  absl::StatusOr<std::string> SaveState() const override {
    return optimizer_.Save({{"step", absl::StrCat(step_)}, {"fingerprint", fingerprint_}});
  }

  absl::Status RestoreState(std::string_view bytes) override {
    int64_t step = 0;
    WT_RETURN_IF_ERROR(optimizer_.Restore(
        bytes, [&](const std::map<std::string, std::string>& metadata) -> absl::Status {
          const auto saved_step = metadata.find("step");
          const auto saved_from = metadata.find("fingerprint");
          if (saved_step == metadata.end() || saved_from == metadata.end() ||
              !absl::SimpleAtoi(saved_step->second, &step) || step < 0 || step > total_steps_) {
            return absl::InvalidArgumentError("checkpoint: metadata is missing or damaged");
          }
          if (saved_from->second != fingerprint_) {
            return absl::FailedPreconditionError(
                "checkpoint: was made with other options, rows or weights");
          }
          return absl::OkStatus();
        }));
    step_ = step;
    return absl::OkStatus();
  }

 private:
  const TrainingRow& RowOf(const StepRow& row) const {
    return streams_[row.stream].rows[row.index];
  }

  static at::Tensor Index(const std::vector<int64_t>& values, at::Device device) {
    return at::tensor(values, at::kLong).to(device);
  }

  // The rows of the next step. Streams with the same weights lie side by side, so that they share
  // micro-batches.
  std::vector<StepRow> RowsOfStep() {
    std::vector<StepRow> rows;
    for (size_t s = 0; s < streams_.size(); ++s) {
      const auto size = static_cast<int64_t>(streams_[s].rows.size());
      int64_t begin = step_ * streams_[s].rows_per_step;
      int64_t count = streams_[s].rows_per_step;
      if (s == 0) {  // an epoch ends with a step that may be shorter
        const int64_t in_epoch = step_ % steps_per_epoch_ * count;
        begin = step_ / steps_per_epoch_ * size + in_epoch;
        count = std::min(count, size - in_epoch);
      }
      for (int64_t i = 0; i < count; ++i) rows.push_back({s, orders_[s].At(begin + i)});
    }
    std::stable_sort(rows.begin(), rows.end(), [&](const StepRow& a, const StepRow& b) {
      return ModelGroup(a.stream) < ModelGroup(b.stream);
    });
    return rows;
  }

  // The first stream that runs on the same weights.
  size_t ModelGroup(size_t stream) const {
    size_t first = 0;
    while (streams_[first].model.weights() != streams_[stream].model.weights()) ++first;
    return first;
  }

  std::vector<std::vector<StepRow>> MicroBatches(const std::vector<StepRow>& rows) const {
    std::vector<std::vector<StepRow>> batches;
    for (size_t begin = 0; begin < rows.size();) {
      size_t end = begin;
      std::vector<int64_t> lengths;
      while (end < rows.size() && ModelGroup(rows[end].stream) == ModelGroup(rows[begin].stream)) {
        lengths.push_back(static_cast<int64_t>(RowOf(rows[end++]).ids.size()));
      }
      const std::vector<size_t> cuts = CutByTokens(lengths, options_.micro_batch_tokens);
      for (size_t i = 0; i + 1 < cuts.size(); ++i) {
        batches.emplace_back(rows.begin() + begin + cuts[i], rows.begin() + begin + cuts[i + 1]);
      }
      begin = end;
    }
    return batches;
  }

  PackedTokens Pack(const std::vector<StepRow>& batch) const {
    std::vector<std::span<const int32_t>> views;
    for (const StepRow& row : batch) views.emplace_back(RowOf(row).ids);
    return PackTokens(views, streams_[batch[0].stream].model.weights()->device);
  }

  // Forward and backward of one micro-batch. loss_sums[s] grows by the stream's summed loss;
  // stream_tokens[s] counts the stream's supervised tokens in the whole step.
  void RunMicroBatch(const std::vector<StepRow>& batch, const LoraRuntime& lora,
                     const std::vector<int64_t>& stream_tokens, LoraGradients& gradients,
                     std::vector<double>& loss_sums) const {
    const ModelWeights& weights = *streams_[batch[0].stream].model.weights();
    const PackedTokens tokens = Pack(batch);
    std::vector<LayerActivations> activations;
    ForwardHooks hooks;
    hooks.activations = &activations;
    const at::Tensor x = RunLayers(weights, lora, tokens, hooks);
    at::Tensor d_x = at::zeros_like(x);
    for (size_t s = 0; s < streams_.size(); ++s) {
      std::vector<int64_t> positions;
      std::vector<int64_t> targets;
      std::vector<at::Tensor> teachers;
      for (size_t i = 0; i < batch.size(); ++i) {
        if (batch[i].stream != s) continue;
        AppendSupervised(RowOf(batch[i]), tokens.offsets[i], positions, &targets);
        if (!teacher_[s].empty()) teachers.push_back(teacher_[s][batch[i].index]);
      }
      if (positions.empty()) continue;
      const at::Tensor rows = Index(positions, weights.device);
      const double weight = streams_[s].weight / static_cast<double>(stream_tokens[s]);
      loss_sums[s] +=
          streams_[s].objective == Objective::kCrossEntropy
              ? CrossEntropyLoss(weights, x, rows, Index(targets, weights.device), weight, d_x)
              : KlToTeacherLoss(weights, x, rows, at::cat(teachers, 0), weight, d_x);
    }
    BackwardLayers(weights, lora, tokens, activations, d_x, gradients);
  }

  absl::StatusOr<StepReport> StepImpl() {
    const c10::InferenceMode guard;
    const absl::Duration start = clock_->Monotonic();
    const std::vector<StepRow> rows = RowsOfStep();
    StepReport report;
    std::vector<int64_t> stream_tokens(streams_.size(), 0);
    for (const StepRow& row : rows) {
      stream_tokens[row.stream] += supervised_[row.stream][row.index];
      report.tokens += static_cast<int64_t>(RowOf(row).ids.size());
    }

    const LoraAdapter* adapter = &optimizer_.adapter();
    WT_ASSIGN_OR_RETURN(const LoraRuntime lora,
                        MakeLoraRuntime(*streams_[0].model.weights(), {&adapter, 1}));
    LoraGradients gradients = LoraGradients::ZerosLike(lora);
    std::vector<double> loss_sums(streams_.size(), 0.0);
    for (const auto& batch : MicroBatches(rows)) {
      RunMicroBatch(batch, lora, stream_tokens, gradients, loss_sums);
    }

    for (size_t s = 0; s < streams_.size(); ++s) {
      const double mean = loss_sums[s] / static_cast<double>(stream_tokens[s]);
      report.stream_losses.push_back(mean);
      report.loss += streams_[s].weight * mean;
      report.supervised_tokens += stream_tokens[s];
    }
    report.grad_norm = optimizer_.SetGradients(gradients);
    report.step = step_ + 1;
    report.total_steps = total_steps_;
    report.learning_rate = LearningRateAt(options_.schedule, step_, total_steps_);
    WT_RETURN_IF_ERROR(CheckFinite(report));
    optimizer_.Apply(step_ + 1, report.learning_rate, options_.max_grad_norm);
    ++step_;
    report.seconds = absl::ToDoubleSeconds(clock_->Monotonic() - start);
    return report;
  }

  absl::Status CheckFinite(const StepReport& report) const {
    if (std::isfinite(report.loss) && std::isfinite(report.grad_norm)) return absl::OkStatus();
    const bool loss = !std::isfinite(report.loss);
    return absl::AbortedError(
        absl::StrFormat("step %d of %d: the %s is %f; lower the learning rate (%g at this step)",
                        report.step, report.total_steps, loss ? "loss" : "gradient's norm",
                        loss ? report.loss : report.grad_norm, report.learning_rate));
  }

  const TrainerOptions options_;
  const std::vector<TrainingStream> streams_;
  Clock* const clock_;
  const std::string fingerprint_;
  LoraOptimizer optimizer_;
  std::vector<std::vector<int64_t>> supervised_;  // [stream][row] tokens
  std::vector<std::vector<at::Tensor>> teacher_;  // [stream][row]: [tokens, hidden], KL only
  std::vector<RowOrder> orders_;
  int64_t steps_per_epoch_ = 0;
  int64_t total_steps_ = 0;
  int64_t step_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Trainer>> Trainer::Create(const TrainerOptions& options,
                                                         std::vector<TrainingStream> streams,
                                                         Clock* clock) {
  WT_RETURN_IF_ERROR(ValidateTraining(options, streams));
  const ModelConfig& config = streams[0].model.config();
  LoraAdapter start;
  if (options.start) {
    start = *options.start;
  } else {
    WT_ASSIGN_OR_RETURN(start, InitLora(config, options.lora, options.seed));
  }
  return AtTorchBoundary("preparing training", [&]() -> absl::StatusOr<std::unique_ptr<Trainer>> {
    auto trainer =
        std::make_unique<LoraTrainer>(options, std::move(streams), clock, std::move(start));
    trainer->PrepareTeachers();
    return trainer;
  });
}

}  // namespace wardtune
