#include "worker/training/joint_step.h"

#include <algorithm>

#include "worker/model/decoder_forward.h"
#include "worker/model/torch_ops.h"
#include "worker/training/supervised_loss.h"

namespace wardtune {
namespace {

// A job's share of the step that is under way.
struct Share {
  TrainingJob* job;
  LoraRuntime lora;
  LoraGradients gradients;
  std::vector<int64_t> stream_tokens;  // supervised, in the whole step
  std::vector<double> loss_sums;
  int64_t tokens = 0;
};

struct JointRow {
  size_t share;
  TrainingJob::StepRow row;
};

using MicroBatch = std::span<const JointRow>;

at::Tensor Index(const std::vector<int64_t>& values, at::Device device) {
  return at::tensor(values, at::kLong).to(device);
}

class JointStep {
 public:
  explicit JointStep(std::span<TrainingJob* const> jobs) {
    for (TrainingJob* job : jobs) AddShare(*job);
    SortByWeights();
  }

  void Run() {
    for (const MicroBatch batch : MicroBatches()) RunMicroBatch(batch);
  }

  std::vector<Share>& shares() { return shares_; }

 private:
  const TrainingRow& RowOf(const JointRow& row) const {
    return shares_[row.share].job->RowOf(row.row);
  }
  const ModelWeights* WeightsOf(const JointRow& row) const {
    return &shares_[row.share].job->WeightsOf(row.row.stream);
  }

  void AddShare(TrainingJob& job) {
    Share share{&job,
                {},
                {},
                std::vector<int64_t>(job.streams().size(), 0),
                std::vector<double>(job.streams().size(), 0.0)};
    const LoraAdapter* adapter = &job.adapter();
    // The adapter was checked when the job was made.
    share.lora = MakeLoraRuntime(job.WeightsOf(0), {&adapter, 1}).value();
    share.gradients = LoraGradients::ZerosLike(share.lora);
    for (const TrainingJob::StepRow& row : job.RowsOfStep()) {
      share.stream_tokens[row.stream] += job.SupervisedIn(row);
      share.tokens += static_cast<int64_t>(job.RowOf(row).ids.size());
      rows_.push_back({shares_.size(), row});
    }
    shares_.push_back(std::move(share));
  }

  // Rows on the same weights share micro-batches; in the order in which the weights first appear.
  void SortByWeights() {
    std::vector<const ModelWeights*> seen;
    const auto place = [&](const JointRow& row) {
      return std::find(seen.begin(), seen.end(), WeightsOf(row)) - seen.begin();
    };
    for (const JointRow& row : rows_) {
      if (place(row) == static_cast<int64_t>(seen.size())) seen.push_back(WeightsOf(row));
    }
    std::stable_sort(rows_.begin(), rows_.end(),
                     [&](const JointRow& a, const JointRow& b) { return place(a) < place(b); });
  }

  std::vector<MicroBatch> MicroBatches() const {
    int64_t budget = 0;
    for (const Share& share : shares_) {
      budget = std::max(budget, share.job->options().micro_batch_tokens);
    }
    std::vector<MicroBatch> batches;
    for (size_t begin = 0; begin < rows_.size();) {
      size_t end = begin;
      std::vector<int64_t> lengths;
      while (end < rows_.size() && WeightsOf(rows_[end]) == WeightsOf(rows_[begin])) {
        lengths.push_back(static_cast<int64_t>(RowOf(rows_[end++]).ids.size()));
      }
      const std::vector<size_t> cuts = CutByTokens(lengths, budget);
      for (size_t i = 0; i + 1 < cuts.size(); ++i) {
        batches.push_back(MicroBatch(rows_).subspan(begin + cuts[i], cuts[i + 1] - cuts[i]));
      }
      begin = end;
    }
    return batches;
  }

  // The rows of each job in a micro-batch lie side by side.
  void MakeSegments(MicroBatch batch, const PackedTokens& tokens,
                    std::vector<LoraSegment>& segments, std::vector<LoraGradients*>& gradients) {
    for (size_t i = 0; i < batch.size(); ++i) {
      Share& share = shares_[batch[i].share];
      if (i == 0 || batch[i].share != batch[i - 1].share) {
        segments.push_back({tokens.offsets[i], 0, &share.lora});
        gradients.push_back(&share.gradients);
      }
      segments.back().end = tokens.offsets[i + 1];
    }
  }

  void RunMicroBatch(MicroBatch batch) {
    const ModelWeights& weights = *WeightsOf(batch[0]);
    std::vector<std::span<const int32_t>> views;
    for (const JointRow& row : batch) views.emplace_back(RowOf(row).ids);
    const PackedTokens tokens = PackTokens(views, weights.device);
    std::vector<LoraSegment> segments;
    std::vector<LoraGradients*> gradients;
    MakeSegments(batch, tokens, segments, gradients);

    std::vector<LayerActivations> activations;
    ForwardHooks hooks;
    hooks.activations = &activations;
    hooks.keep_inputs_only = shares_[0].job->options().recompute_activations;
    const at::Tensor x = RunLayers(weights, segments, tokens, hooks);
    at::Tensor d_x = at::zeros_like(x);
    for (size_t i = 0; i < batch.size();) {
      size_t end = i;
      while (end < batch.size() && batch[end].share == batch[i].share &&
             batch[end].row.stream == batch[i].row.stream) {
        ++end;
      }
      AddLoss(batch, i, end, tokens, x, d_x);
      i = end;
    }
    BackwardLayers(weights, segments, tokens, activations, d_x, gradients);
  }

  // Loss and its gradient of rows [begin, end) of the batch, which belong to one stream of one job.
  void AddLoss(MicroBatch batch, size_t begin, size_t end, const PackedTokens& tokens,
               const at::Tensor& x, at::Tensor& d_x) {
    Share& share = shares_[batch[begin].share];
    const size_t stream = batch[begin].row.stream;
    const TrainingStream& source = share.job->streams()[stream];
    const ModelWeights& weights = share.job->WeightsOf(stream);
    std::vector<int64_t> positions;
    std::vector<int64_t> targets;
    std::vector<at::Tensor> teachers;
    for (size_t i = begin; i < end; ++i) {
      AppendSupervised(RowOf(batch[i]), tokens.offsets[i], positions, &targets);
      if (share.job->HasTeacher(stream)) teachers.push_back(share.job->TeacherOf(batch[i].row));
    }
    const at::Tensor rows = Index(positions, weights.device);
    const double weight = source.weight / static_cast<double>(share.stream_tokens[stream]);
    share.loss_sums[stream] +=
        source.objective == Objective::kCrossEntropy
            ? CrossEntropyLoss(weights, x, rows, Index(targets, weights.device), weight, d_x)
            : KlToTeacherLoss(weights, x, rows, at::cat(teachers, 0), weight, d_x);
  }

  std::vector<Share> shares_;
  std::vector<JointRow> rows_;
};

}  // namespace

std::vector<absl::StatusOr<StepReport>> RunJointStep(std::span<TrainingJob* const> jobs,
                                                     Clock& clock) {
  const c10::InferenceMode guard;
  const absl::Duration start = clock.Monotonic();
  JointStep step(jobs);
  step.Run();
  std::vector<absl::StatusOr<StepReport>> reports;
  for (Share& share : step.shares()) {
    reports.push_back(
        share.job->Finish(share.gradients, share.loss_sums, share.stream_tokens, share.tokens));
  }
  const double seconds = absl::ToDoubleSeconds(clock.Monotonic() - start);
  for (auto& report : reports) {
    if (report.ok()) report->seconds = seconds;
  }
  return reports;
}

}  // namespace wardtune
