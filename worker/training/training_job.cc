#include "worker/training/training_job.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "worker/model/decoder_forward.h"
#include "worker/model/seeded_random.h"
#include "worker/model/torch_ops.h"
#include "worker/training/gradient_exchange.h"
#include "worker/training/trainer_validation.h"

namespace wardtune {
namespace {

absl::Status CheckFinite(const StepReport& report) {
  if (std::isfinite(report.loss) && std::isfinite(report.grad_norm)) return absl::OkStatus();
  const bool loss = !std::isfinite(report.loss);
  return absl::AbortedError(
      absl::StrFormat("step %d of %d: the %s is %f; lower the learning rate (%g at this step)",
                      report.step, report.total_steps, loss ? "loss" : "gradient's norm",
                      loss ? report.loss : report.grad_norm, report.learning_rate));
}

}  // namespace

void AppendSupervised(const TrainingRow& row, int64_t offset, std::vector<int64_t>& positions,
                      std::vector<int64_t>* targets) {
  for (size_t i = 1; i < row.ids.size(); ++i) {
    if (row.loss_mask[i] == 0) continue;
    positions.push_back(offset + static_cast<int64_t>(i) - 1);
    if (targets != nullptr) targets->push_back(row.ids[i]);
  }
}

TrainingJob::TrainingJob(const TrainerOptions& options, std::vector<TrainingStream> streams,
                         LoraAdapter start)
    : options_(options),
      streams_(std::move(streams)),
      fingerprint_(TrainingFingerprint(options_, streams_)),
      optimizer_(streams_[0].model.config(), std::move(start),
                 {options.beta1, options.beta2, options.epsilon, options.weight_decay}),
      supervised_(streams_.size()),
      teacher_(streams_.size()) {
  for (size_t s = 0; s < streams_.size(); ++s) {
    orders_.emplace_back(MixSeed(options.seed, s + 1),
                         static_cast<int64_t>(streams_[s].rows.size()), options.shuffle);
    for (const TrainingRow& row : streams_[s].rows) supervised_[s].push_back(SupervisedTokens(row));
  }
  const auto rows = static_cast<int64_t>(streams_[0].rows.size());
  steps_per_epoch_ = (rows + streams_[0].rows_per_step - 1) / streams_[0].rows_per_step;
  total_steps_ = options.max_steps > 0 ? options.max_steps : options.epochs * steps_per_epoch_;
}

void TrainingJob::PrepareTeachers() {
  const c10::InferenceMode guard;
  for (size_t s = 0; s < streams_.size(); ++s) {
    if (streams_[s].objective != Objective::kKlToBase) continue;
    const ModelWeights& weights = WeightsOf(s);
    std::vector<int64_t> lengths;
    for (const TrainingRow& row : streams_[s].rows) {
      lengths.push_back(static_cast<int64_t>(row.ids.size()));
    }
    const std::vector<size_t> cuts = CutByTokens(lengths, options_.micro_batch_tokens);
    for (size_t c = 0; c + 1 < cuts.size(); ++c) {
      std::vector<std::span<const int32_t>> views;
      for (size_t i = cuts[c]; i < cuts[c + 1]; ++i) views.emplace_back(streams_[s].rows[i].ids);
      const PackedTokens tokens = PackTokens(views, weights.device);
      const at::Tensor x = RunLayers(weights, LoraSegments(), tokens);
      for (size_t i = cuts[c]; i < cuts[c + 1]; ++i) {
        std::vector<int64_t> positions;
        AppendSupervised(streams_[s].rows[i], tokens.offsets[i - cuts[c]], positions, nullptr);
        teacher_[s].push_back(
            x.index_select(0, at::tensor(positions, at::kLong).to(weights.device)));
      }
    }
  }
}

std::vector<TrainingJob::StepRow> TrainingJob::RowsOfStep() {
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
  if (options_.exchange != nullptr) DealToProcesses(rows);
  return rows;
}

void TrainingJob::DealToProcesses(std::vector<StepRow>& rows) const {
  std::vector<int64_t> lengths;
  for (const StepRow& row : rows) lengths.push_back(static_cast<int64_t>(RowOf(row).ids.size()));
  const std::vector<int> ranks = DealRows(lengths, options_.exchange->ranks());
  for (size_t i = 0; i < rows.size(); ++i) rows[i].ours = ranks[i] == options_.exchange->rank();
}

absl::Status TrainingJob::CheckSameEverywhere() const {
  if (options_.exchange == nullptr) return absl::OkStatus();
  return options_.exchange->RequireEqual("options, rows and weights", fingerprint_);
}

absl::Status TrainingJob::AddUp(std::vector<double>& loss_sums) {
  if (options_.exchange == nullptr) return absl::OkStatus();
  WT_RETURN_IF_ERROR(options_.exchange->RequireEqual("step", absl::StrCat(step_)));
  WT_RETURN_IF_ERROR(options_.exchange->Sum(std::span<double>(loss_sums)));
  return options_.exchange->Sum(optimizer_.gradients());
}

absl::StatusOr<StepReport> TrainingJob::Finish(const LoraGradients& gradients,
                                               std::vector<double> loss_sums,
                                               const std::vector<int64_t>& stream_tokens,
                                               int64_t tokens) {
  optimizer_.SetGradients(gradients);
  WT_RETURN_IF_ERROR(AddUp(loss_sums));
  StepReport report;
  report.tokens = tokens;
  for (size_t s = 0; s < streams_.size(); ++s) {
    const double mean = loss_sums[s] / static_cast<double>(stream_tokens[s]);
    report.stream_losses.push_back(mean);
    report.loss += streams_[s].weight * mean;
    report.supervised_tokens += stream_tokens[s];
  }
  report.grad_norm = optimizer_.MeasureNorm();
  report.step = step_ + 1;
  report.total_steps = total_steps_;
  report.learning_rate = LearningRateAt(options_.schedule, step_, total_steps_);
  WT_RETURN_IF_ERROR(CheckFinite(report));
  optimizer_.Apply(step_ + 1, report.learning_rate, options_.max_grad_norm);
  ++step_;
  return report;
}

absl::StatusOr<std::string> TrainingJob::SaveState() const {
  return optimizer_.Save({{"step", absl::StrCat(step_)}, {"fingerprint", fingerprint_}});
}

absl::Status TrainingJob::RestoreState(std::string_view bytes) {
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

}  // namespace wardtune
