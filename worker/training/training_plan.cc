#include "worker/training/training_plan.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "worker/model/decoder_forward.h"
#include "worker/model/lanes.h"
#include "worker/model/seeded_random.h"
#include "worker/model/tensor_ops.h"
#include "worker/model/torch_ops.h"
#include "worker/training/gradient_exchange.h"
#include "worker/training/micro_batch_plan.h"
#include "worker/training/row_prefixes.h"
#include "worker/training/supervised_loss.h"
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

TrainingPlan::TrainingPlan(const TrainerOptions& options, std::vector<TrainingStream> streams)
    : options_(options),
      streams_(std::move(streams)),
      fingerprint_(TrainingFingerprint(options_, streams_)),
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

std::vector<int64_t> TrainingPlan::RowsOfRun(size_t stream) {
  // A pass is a permutation: no row comes twice before all have come.
  const int64_t count = std::min(static_cast<int64_t>(streams_[stream].rows.size()),
                                 total_steps_ * streams_[stream].rows_per_step);
  std::vector<int64_t> rows;
  for (int64_t place = 0; place < count; ++place) rows.push_back(orders_[stream].At(place));
  std::sort(rows.begin(), rows.end());
  return rows;
}

void TrainingPlan::PrepareTeachers() {
  const c10::InferenceMode guard;
  for (size_t s = 0; s < streams_.size(); ++s) {
    if (streams_[s].objective == Objective::kCrossEntropy) continue;
    teacher_[s].resize(streams_[s].rows.size());
    const std::vector<int64_t> rows = RowsOfRun(s);
    std::vector<int64_t> lengths;
    for (const int64_t row : rows) {
      lengths.push_back(static_cast<int64_t>(streams_[s].rows[row].ids.size()));
    }
    for (const MicroBatchWave& wave :
         PlanMicroBatches(lengths, options_.micro_batch_tokens, LanesOn(WeightsOf(s).device))) {
      RunLanes(wave.size(), [&](size_t lane) {
        std::vector<int64_t> part;
        for (const size_t row : wave[lane]) part.push_back(rows[row]);
        PrepareTeachersOf(s, part);
      });
    }
  }
}

void TrainingPlan::PrepareTeachersOf(size_t stream, std::span<const int64_t> rows) {
  const ModelWeights& weights = WeightsOf(stream);
  std::vector<const TrainingRow*> packed;
  for (const int64_t row : rows) packed.push_back(&streams_[stream].rows[row]);
  const PackedTokens tokens = PackRows(packed, options_.share_prefixes, weights.device);
  const at::Tensor x = RunLayers(weights, LoraSegments(), tokens);
  for (size_t i = 0; i < rows.size(); ++i) {
    std::vector<int64_t> positions;
    AppendSupervised(streams_[stream].rows[rows[i]], tokens.offsets[i], positions, nullptr);
    teacher_[stream][rows[i]] = x.index_select(0, IndexTensor(positions, weights.device));
  }
}

std::vector<TrainingPlan::StepRow> TrainingPlan::RowsOfStep() {
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

void TrainingPlan::DealToProcesses(std::vector<StepRow>& rows) const {
  std::vector<int64_t> lengths;
  for (const StepRow& row : rows) lengths.push_back(static_cast<int64_t>(RowOf(row).ids.size()));
  const std::vector<int> ranks = DealRows(lengths, options_.exchange->ranks());
  for (size_t i = 0; i < rows.size(); ++i) rows[i].ours = ranks[i] == options_.exchange->rank();
}

absl::Status TrainingPlan::CheckSameEverywhere() const {
  if (options_.exchange == nullptr) return absl::OkStatus();
  return options_.exchange->RequireEqual(
      "options, rows and weights", absl::StrCat(fingerprint_, " ", options_.micro_batch_tokens, " ",
                                                ValidationFingerprint(options_.validation)));
}

absl::StatusOr<double> TrainingPlan::AgreeOn(double measured) const {
  if (options_.exchange == nullptr) return measured;
  WT_RETURN_IF_ERROR(options_.exchange->Sum(std::span<double>(&measured, 1)));
  return measured / options_.exchange->ranks();
}

double TrainingPlan::RowsLoss(const ModelWeights& weights, std::span<const StepRow> rows,
                              std::span<const int64_t> offsets, int64_t stream_tokens,
                              const at::Tensor& x, at::Tensor& d_x) const {
  const size_t stream = rows[0].stream;
  std::vector<int64_t> positions;
  std::vector<int64_t> targets;
  std::vector<at::Tensor> teachers;
  for (size_t i = 0; i < rows.size(); ++i) {
    AppendSupervised(RowOf(rows[i]), offsets[i], positions, &targets);
    if (!teacher_[stream].empty()) teachers.push_back(teacher_[stream][rows[i].index]);
  }
  const at::Tensor index = IndexTensor(positions, weights.device);
  const double weight = streams_[stream].weight / static_cast<double>(stream_tokens);
  switch (streams_[stream].objective) {
    case Objective::kCrossEntropy:
      return CrossEntropyLoss(weights, x, index, IndexTensor(targets, weights.device), weight, d_x);
    case Objective::kKlToBase:
      return KlToTeacherLoss(weights, x, index, at::cat(teachers, 0), streams_[stream].kl_slack,
                             weight, d_x);
    case Objective::kStateToBase:
      return StateToTeacherLoss(weights, x, index, at::cat(teachers, 0), weight, d_x);
  }
  TORCH_CHECK(false, "objective: is none");
}

absl::Status TrainingPlan::AddUpLosses(std::vector<double>& loss_sums) const {
  if (options_.exchange == nullptr) return absl::OkStatus();
  WT_RETURN_IF_ERROR(options_.exchange->RequireEqual("step", absl::StrCat(step_)));
  return options_.exchange->Sum(std::span<double>(loss_sums));
}

absl::StatusOr<StepReport> TrainingPlan::Report(const std::vector<double>& loss_sums,
                                                const std::vector<int64_t>& stream_tokens,
                                                int64_t tokens, double grad_norm) const {
  StepReport report;
  report.tokens = tokens;
  for (size_t s = 0; s < streams_.size(); ++s) {
    const double mean = loss_sums[s] / static_cast<double>(stream_tokens[s]);
    report.stream_losses.push_back(mean);
    report.loss += streams_[s].weight * mean;
    report.supervised_tokens += stream_tokens[s];
  }
  report.grad_norm = grad_norm;
  report.step = step_ + 1;
  report.total_steps = total_steps_;
  report.learning_rate = LearningRateAt(options_.schedule, step_, total_steps_);
  WT_RETURN_IF_ERROR(CheckFinite(report));
  return report;
}

}  // namespace wardtune
