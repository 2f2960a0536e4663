#include "worker/training/joint_step.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "worker/model/decoder_forward.h"
#include "worker/model/lanes.h"
#include "worker/model/torch_boundary.h"
#include "worker/model/torch_ops.h"
#include "worker/training/micro_batch_plan.h"
#include "worker/training/row_prefixes.h"

namespace wardtune {
namespace {

// What one lane adds to a job's step.
struct LaneSums {
  LoraGradients gradients;     // no layers where the lane had no rows of the job
  std::vector<double> losses;  // per stream
};

// A job's share of the step that is under way.
struct Share {
  TrainingJob* job;
  LoraRuntime lora;  // of the job's adapter
  std::vector<LoraRuntime>
      with;  // per stream: beside it the stream's frozen adapter, if it has one
  std::vector<int64_t> stream_tokens;  // supervised, in the whole step
  int64_t tokens = 0;
  int64_t first_stream_tokens = 0;
  std::vector<LaneSums> lanes;  // one per lane that has run
};

struct JointRow {
  size_t share;
  TrainingJob::StepRow row;
};

class JointStep {
 public:
  explicit JointStep(std::span<TrainingJob* const> jobs) {
    for (TrainingJob* job : jobs) AddShare(*job);
    SortByWeights();
  }

  void Run() {
    if (!rows_.empty()) {
      const int64_t lanes = LanesOn(WeightsOf(rows_[0])->device);
      for (const LaneRound& round : PlanStep(RowsToPlan(), TokenBudget(), lanes)) RunRound(round);
    }
    for (Share& share : shares_) AddUpLanes(share);
  }

  std::vector<Share>& shares() { return shares_; }

 private:
  using MicroBatch = std::span<const JointRow>;

  const TrainingRow& RowOf(const JointRow& row) const {
    return shares_[row.share].job->RowOf(row.row);
  }
  const TrainingStream& StreamOf(const JointRow& row) const {
    return shares_[row.share].job->streams()[row.row.stream];
  }
  const ModelWeights* WeightsOf(const JointRow& row) const {
    return &shares_[row.share].job->WeightsOf(row.row.stream);
  }

  void AddShare(TrainingJob& job) {
    Share share{&job, {}, {}, std::vector<int64_t>(job.streams().size(), 0)};
    // The adapters were checked when the job was made. The trained one comes first: gradients are
    // those of the first ranks.
    const LoraAdapter* adapters[] = {&job.adapter(), nullptr};
    share.with.resize(job.streams().size());
    for (size_t stream = 0; stream < job.streams().size(); ++stream) {
      const ModelWeights& weights = job.WeightsOf(stream);
      adapters[1] = job.streams()[stream].frozen.get();
      if (adapters[1] == nullptr) continue;
      share.with[stream] = MakeLoraRuntime(weights, adapters).value();
      share.lora = FactorsOfFirst(share.with[stream], weights.config, job.adapter().spec);
    }
    if (share.lora.layers.empty()) {
      share.lora = MakeLoraRuntime(job.WeightsOf(0), {adapters, 1}).value();
    }
    for (const TrainingJob::StepRow& row : job.RowsOfStep()) {
      share.stream_tokens[row.stream] += job.SupervisedIn(row);
      const auto tokens = static_cast<int64_t>(job.RowOf(row).ids.size());
      share.tokens += tokens;
      if (row.stream == 0) share.first_stream_tokens += tokens;
      if (row.ours) rows_.push_back({shares_.size(), row});
    }
    shares_.push_back(std::move(share));
    GrowLanes(shares_.back(), 1);
  }

  static void GrowLanes(Share& share, size_t lanes) {
    while (share.lanes.size() < lanes) {
      share.lanes.push_back({{}, std::vector<double>(share.stream_tokens.size(), 0.0)});
    }
  }

  static LoraGradients& GradientsOf(Share& share, size_t lane) {
    LoraGradients& gradients = share.lanes[lane].gradients;
    if (gradients.layers.empty()) gradients = LoraGradients::ZerosLike(share.lora);
    return gradients;
  }

  // Always in the same order, so that a step's bits do not depend on which lane ends first.
  static void AddUpLanes(Share& share) {
    LaneSums& sums = share.lanes[0];
    for (size_t lane = 1; lane < share.lanes.size(); ++lane) {
      LaneSums& more = share.lanes[lane];
      if (sums.gradients.layers.empty()) {
        sums.gradients = std::move(more.gradients);
      } else if (!more.gradients.layers.empty()) {
        sums.gradients.Add(more.gradients);
      }
      for (size_t stream = 0; stream < share.stream_tokens.size(); ++stream) {
        sums.losses[stream] += more.losses[stream];
      }
    }
    share.lanes.resize(1);
    GradientsOf(share, 0);  // a process of several may have had no rows
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

  // Else a job's products would have the sizes that another's rows say.
  bool SharesPrefixes(MicroBatch batch) const {
    const size_t share = batch.front().share;
    return shares_[share].job->options().share_prefixes &&
           std::all_of(batch.begin(), batch.end(),
                       [&](const JointRow& row) { return row.share == share; });
  }

  StepRows RowsToPlan() const {
    StepRows plan;
    for (const JointRow& row : rows_) {
      plan.lengths.push_back(static_cast<int64_t>(RowOf(row).ids.size()));
      plan.held.push_back(StreamOf(row).kl_slack > 0.0);
    }
    const bool share = SharesPrefixes(rows_);
    ForEachStream(rows_, [&](size_t begin, size_t end) {
      const MicroBatch stream = MicroBatch(rows_).subspan(begin, end - begin);
      plan.group.resize(end, begin);
      plan.shared.resize(end, share ? CommonPrefix(RowsOf(stream)) : 0);
    });
    return plan;
  }

  // What memory allows is decided for each job before its first step: the least counts.
  int64_t TokenBudget() const {
    int64_t budget = std::numeric_limits<int64_t>::max();
    for (const Share& share : shares_) {
      budget = std::min(budget, share.job->options().micro_batch_tokens);
    }
    return budget;
  }
  bool RecomputeActivations() const {
    return std::any_of(shares_.begin(), shares_.end(), [](const Share& share) {
      return share.job->options().recompute_activations;
    });
  }

  // Few rows on other weights ride in one lane beside the others' rows rather than in a round of
  // their own, unless PlanStep has left them to all threads.
  void RunRound(const LaneRound& round) {
    for (Share& share : shares_) GrowLanes(share, round.size());
    RunLanes(round.size(), [&](size_t lane) {
      for (const std::vector<size_t>& micro_batch : round[lane]) RunRows(micro_batch, lane);
    });
  }

  void RunRows(const std::vector<size_t>& numbers, size_t lane) {
    std::vector<JointRow> rows;
    for (const size_t row : numbers) rows.push_back(rows_[row]);
    for (size_t begin = 0; begin < rows.size();) {
      size_t end = begin;
      while (end < rows.size() && WeightsOf(rows[end]) == WeightsOf(rows[begin])) ++end;
      RunMicroBatch(MicroBatch(rows).subspan(begin, end - begin), lane);
      begin = end;
    }
  }

  std::vector<const TrainingRow*> RowsOf(MicroBatch batch) const {
    std::vector<const TrainingRow*> rows;
    for (const JointRow& row : batch) rows.push_back(&RowOf(row));
    return rows;
  }

  // Calls `f` with the first row of each job's stream and one past its last: they lie side by side.
  template <typename F>
  static void ForEachStream(MicroBatch batch, F f) {
    for (size_t begin = 0, end = 0; begin < batch.size(); begin = end) {
      while (end < batch.size() && batch[end].share == batch[begin].share &&
             batch[end].row.stream == batch[begin].row.stream) {
        ++end;
      }
      f(begin, end);
    }
  }

  PackedTokens Pack(MicroBatch batch, at::Device device) const {
    const std::vector<const TrainingRow*> rows = RowsOf(batch);
    std::vector<std::span<const int32_t>> views;
    for (const TrainingRow* row : rows) views.emplace_back(row->ids);
    std::vector<SharedPrefix> prefixes;
    if (SharesPrefixes(batch)) {
      ForEachStream(batch, [&](size_t begin, size_t end) {
        AppendPrefixes(std::span(rows).subspan(begin, end - begin), prefixes);
      });
    }
    return PackTokens(views, device, prefixes);
  }

  void MakeSegments(MicroBatch batch, size_t lane, const PackedTokens& tokens,
                    std::vector<LoraSegment>& segments, std::vector<LoraGradients*>& gradients) {
    ForEachStream(batch, [&](size_t begin, size_t end) {
      Share& share = shares_[batch[begin].share];
      const size_t stream = batch[begin].row.stream;
      const bool alone = share.job->streams()[stream].frozen == nullptr;
      segments.push_back(
          {tokens.offsets[begin], tokens.offsets[end], alone ? &share.lora : &share.with[stream]});
      gradients.push_back(&GradientsOf(share, lane));
    });
  }

  void RunMicroBatch(MicroBatch batch, size_t lane) {
    const ModelWeights& weights = *WeightsOf(batch[0]);
    const PackedTokens tokens = Pack(batch, weights.device);
    std::vector<LoraSegment> segments;
    std::vector<LoraGradients*> gradients;
    MakeSegments(batch, lane, tokens, segments, gradients);

    std::vector<LayerActivations> activations;
    ForwardHooks hooks;
    hooks.activations = &activations;
    hooks.keep_inputs_only = RecomputeActivations();
    const at::Tensor x = RunLayers(weights, segments, tokens, hooks);
    at::Tensor d_x = at::zeros_like(x);
    ForEachStream(
        batch, [&](size_t begin, size_t end) { AddLoss(batch, begin, end, lane, tokens, x, d_x); });
    BackwardLayers(weights, segments, tokens, activations, d_x, gradients);
  }

  // Loss and its gradient of rows [begin, end) of the batch, which belong to one stream of one job.
  void AddLoss(MicroBatch batch, size_t begin, size_t end, size_t lane, const PackedTokens& tokens,
               const at::Tensor& x, at::Tensor& d_x) {
    Share& share = shares_[batch[begin].share];
    const size_t stream = batch[begin].row.stream;
    std::vector<TrainingJob::StepRow> rows;
    for (const JointRow& row : batch.subspan(begin, end - begin)) rows.push_back(row.row);
    share.lanes[lane].losses[stream] +=
        share.job->RowsLoss(share.job->WeightsOf(stream), rows,
                            std::span<const int64_t>(tokens.offsets).subspan(begin, end - begin),
                            share.stream_tokens[stream], x, d_x);
  }

  std::vector<Share> shares_;
  std::vector<JointRow> rows_;
};

std::vector<absl::StatusOr<StepReport>> RunStepOf(std::span<TrainingJob* const> jobs,
                                                  Clock& clock) {
  const c10::InferenceMode guard;
  const absl::Duration start = clock.Monotonic();
  JointStep step(jobs);
  step.Run();
  std::vector<absl::StatusOr<StepReport>> reports;
  for (Share& share : step.shares()) {
    // A job that fails here leaves the others' steps, which may be done, as they are.
    reports.push_back(AtTorchBoundary("training step", [&] {
      return share.job->Finish(share.lanes[0].gradients, share.lanes[0].losses, share.stream_tokens,
                               share.tokens);
    }));
    if (reports.back().ok()) reports.back()->first_stream_tokens = share.first_stream_tokens;
  }
  const double seconds = absl::ToDoubleSeconds(clock.Monotonic() - start);
  for (auto& report : reports) {
    if (report.ok()) report->seconds = seconds;
  }
  return reports;
}

}  // namespace

absl::StatusOr<std::vector<absl::StatusOr<StepReport>>> RunJointStep(
    std::span<TrainingJob* const> jobs, Clock& clock) {
  return AtTorchBoundary("training step",
                         [&]() -> absl::StatusOr<std::vector<absl::StatusOr<StepReport>>> {
                           return RunStepOf(jobs, clock);
                         });
}

}  // namespace wardtune
