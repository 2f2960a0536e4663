#include "worker/training/row_loss.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/model/decoder_forward.h"
#include "worker/model/lanes.h"
#include "worker/model/tensor_ops.h"
#include "worker/model/token_check.h"
#include "worker/model/torch_boundary.h"
#include "worker/model/torch_ops.h"
#include "worker/training/micro_batch_plan.h"
#include "worker/training/row_prefixes.h"
#include "worker/training/supervised_loss.h"
#include "worker/training/training_plan.h"

namespace wardtune {
namespace {

absl::Status CheckRow(const TrainingRow& row, size_t number, const ModelConfig& config) {
  const std::string name = absl::StrCat("row ", number);
  WT_RETURN_IF_ERROR(CheckTokens(row.ids, config, name));
  if (row.loss_mask.size() != row.ids.size() ||
      std::none_of(row.loss_mask.begin() + 1, row.loss_mask.end(), [](uint8_t m) { return m; })) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": has no supervised token"));
  }
  return absl::OkStatus();
}

size_t Supervised(const TrainingRow& row) {
  return static_cast<size_t>(std::count_if(row.loss_mask.begin() + 1, row.loss_mask.end(),
                                           [](uint8_t m) { return m != 0; }));
}

// -log p of every supervised token of some rows, in their order.
std::vector<float> TokenLosses(const ModelWeights& weights, const LoraRuntime& lora,
                               const std::vector<const TrainingRow*>& rows) {
  const PackedTokens tokens = PackRows(rows, /*share=*/true, weights.device);
  std::vector<int64_t> positions;
  std::vector<int64_t> targets;
  for (size_t i = 0; i < rows.size(); ++i) {
    AppendSupervised(*rows[i], tokens.offsets[i], positions, &targets);
  }
  const at::Tensor residual =
      RunLayers(weights, lora, tokens).index_select(0, IndexTensor(positions, weights.device));
  const at::Tensor wanted = IndexTensor(targets, weights.device);
  std::vector<float> losses;
  for (int64_t begin = 0; begin < residual.size(0); begin += kHeadChunkRows) {
    const int64_t count = std::min(kHeadChunkRows, residual.size(0) - begin);
    at::Tensor logits = HeadLogits(weights, residual.narrow(0, begin, count));
    const at::Tensor chunk = CrossEntropyInPlace(logits, wanted.narrow(0, begin, count), 0.0).cpu();
    const float* values = chunk.const_data_ptr<float>();
    losses.insert(losses.end(), values, values + count);
  }
  return losses;
}

// Takes the losses of a row's supervised tokens.
using TakeLosses = std::function<void(size_t row, std::span<const float> losses)>;

// Calls `take` with each row, from several lanes at once but never twice with one row.
absl::Status ForEachRowsLosses(const DecoderModel& model, ActiveAdapters adapters,
                               std::span<const TrainingRow> rows, const RowLossOptions& options,
                               const TakeLosses& take) {
  std::vector<int64_t> lengths;
  for (size_t i = 0; i < rows.size(); ++i) {
    WT_RETURN_IF_ERROR(CheckRow(rows[i], i, model.config()));
    lengths.push_back(static_cast<int64_t>(rows[i].ids.size()));
  }
  if (rows.empty()) return absl::OkStatus();
  return AtTorchBoundary("row losses", [&]() -> absl::Status {
    const c10::InferenceMode guard;
    const ModelWeights& weights = *model.weights();
    WT_ASSIGN_OR_RETURN(const LoraRuntime lora, MakeLoraRuntime(weights, adapters));
    int64_t finished = 0;
    for (const MicroBatchWave& wave :
         PlanMicroBatches(lengths, options.micro_batch_tokens, LanesOn(weights.device))) {
      RunLanes(wave.size(), [&](size_t lane) {
        std::vector<const TrainingRow*> part;
        for (const size_t row : wave[lane]) part.push_back(&rows[row]);
        const std::vector<float> losses = TokenLosses(weights, lora, part);
        size_t at = 0;
        for (const size_t row : wave[lane]) {
          const size_t count = Supervised(rows[row]);
          take(row, std::span(losses).subspan(at, count));
          at += count;
        }
      });
      for (const auto& lane : wave) finished += static_cast<int64_t>(lane.size());
      if (options.progress && !options.progress(finished)) {
        return absl::CancelledError("computing the rows' losses was cancelled");
      }
    }
    return absl::OkStatus();
  });
}

double Mean(std::span<const float> losses) {
  return std::accumulate(losses.begin(), losses.end(), 0.0) / static_cast<double>(losses.size());
}

// `losses` are those of the row's supervised tokens.
std::vector<SpanLoss> SplitIntoSpans(const TrainingRow& row, std::span<const float> losses) {
  std::vector<SpanLoss> spans;
  size_t begin = 0;  // of the span, in `losses`
  size_t end = 0;
  for (size_t i = 1; i <= row.ids.size(); ++i) {
    if (i < row.ids.size() && row.loss_mask[i] != 0) {
      ++end;
    } else if (end > begin) {
      const std::span<const float> part = losses.subspan(begin, end - begin);
      spans.push_back({static_cast<int64_t>(part.size()), Mean(part)});
      begin = end;
    }
  }
  return spans;
}

}  // namespace

absl::StatusOr<std::vector<double>> RowLosses(const DecoderModel& model, ActiveAdapters adapters,
                                              std::span<const TrainingRow> rows,
                                              const RowLossOptions& options) {
  std::vector<double> means(rows.size());
  WT_RETURN_IF_ERROR(ForEachRowsLosses(
      model, adapters, rows, options,
      [&](size_t row, std::span<const float> losses) { means[row] = Mean(losses); }));
  return means;
}

absl::StatusOr<std::vector<std::vector<SpanLoss>>> SpanLosses(const DecoderModel& model,
                                                              ActiveAdapters adapters,
                                                              std::span<const TrainingRow> rows,
                                                              const RowLossOptions& options) {
  std::vector<std::vector<SpanLoss>> spans(rows.size());
  WT_RETURN_IF_ERROR(ForEachRowsLosses(model, adapters, rows, options,
                                       [&](size_t row, std::span<const float> losses) {
                                         spans[row] = SplitIntoSpans(rows[row], losses);
                                       }));
  return spans;
}

}  // namespace wardtune
