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

// -log p of every supervised token of some rows, in their order.
std::vector<float> TokenLosses(const ModelWeights& weights, const LoraRuntime& lora,
                               const std::vector<const TrainingRow*>& rows) {
  std::vector<std::span<const int32_t>> views;
  for (const TrainingRow* row : rows) views.emplace_back(row->ids);
  const PackedTokens tokens = PackTokens(views, weights.device);
  std::vector<int64_t> positions;
  std::vector<int64_t> targets;
  for (size_t i = 0; i < rows.size(); ++i) {
    AppendSupervised(*rows[i], tokens.offsets[i], positions, &targets);
  }
  const auto index = [&](const std::vector<int64_t>& values) {
    return at::tensor(values, at::kLong).to(weights.device);
  };
  const at::Tensor residual = RunLayers(weights, lora, tokens).index_select(0, index(positions));
  std::vector<float> losses;
  for (int64_t begin = 0; begin < residual.size(0); begin += kHeadChunkRows) {
    const int64_t count = std::min(kHeadChunkRows, residual.size(0) - begin);
    at::Tensor logits = HeadLogits(weights, residual.narrow(0, begin, count));
    const at::Tensor chunk =
        CrossEntropyInPlace(logits, index(targets).narrow(0, begin, count), 0.0).cpu();
    const float* values = chunk.const_data_ptr<float>();
    losses.insert(losses.end(), values, values + count);
  }
  return losses;
}

// Means of the token losses over each row.
void StoreMeans(const std::vector<float>& token_losses, const std::vector<const TrainingRow*>& rows,
                const std::vector<size_t>& numbers, std::vector<double>& means) {
  size_t at = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::vector<uint8_t>& mask = rows[i]->loss_mask;
    const auto count = static_cast<size_t>(
        std::count_if(mask.begin() + 1, mask.end(), [](uint8_t m) { return m != 0; }));
    const double sum =
        std::accumulate(token_losses.begin() + static_cast<std::ptrdiff_t>(at),
                        token_losses.begin() + static_cast<std::ptrdiff_t>(at + count), 0.0);
    means[numbers[i]] = sum / static_cast<double>(count);
    at += count;
  }
}

}  // namespace

absl::StatusOr<std::vector<double>> RowLosses(const DecoderModel& model, ActiveAdapters adapters,
                                              std::span<const TrainingRow> rows,
                                              const RowLossOptions& options) {
  std::vector<int64_t> lengths;
  for (size_t i = 0; i < rows.size(); ++i) {
    WT_RETURN_IF_ERROR(CheckRow(rows[i], i, model.config()));
    lengths.push_back(static_cast<int64_t>(rows[i].ids.size()));
  }
  std::vector<double> means(rows.size());
  if (rows.empty()) return means;
  return AtTorchBoundary("row losses", [&]() -> absl::StatusOr<std::vector<double>> {
    const c10::InferenceMode guard;
    const ModelWeights& weights = *model.weights();
    WT_ASSIGN_OR_RETURN(const LoraRuntime lora, MakeLoraRuntime(weights, adapters));
    int64_t finished = 0;
    for (const MicroBatchWave& wave :
         PlanMicroBatches(lengths, options.micro_batch_tokens, LanesOn(weights.device))) {
      RunLanes(wave.size(), [&](size_t lane) {
        std::vector<const TrainingRow*> part;
        for (const size_t row : wave[lane]) part.push_back(&rows[row]);
        StoreMeans(TokenLosses(weights, lora, part), part, wave[lane], means);
      });
      for (const auto& lane : wave) finished += static_cast<int64_t>(lane.size());
      if (options.progress && !options.progress(finished)) {
        return absl::CancelledError("computing the rows' losses was cancelled");
      }
    }
    return means;
  });
}

}  // namespace wardtune
