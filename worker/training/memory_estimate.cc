#include "worker/training/memory_estimate.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_format.h"
#include "worker/model/model_weights.h"
#include "worker/model/out_of_memory.h"
#include "worker/training/supervised_loss.h"

namespace wardtune {
namespace {

// What each lane's thread keeps of memory that its layers and products gave back, whatever the size
// of the run.
constexpr int64_t kLaneSlack = int64_t{8} << 20;

int64_t FusedRank(const LoraSpec& lora) {
  return lora.rank * static_cast<int64_t>(lora.targets.size());
}

// Numbers that LayerActivations keeps of one token.
int64_t KeptPerToken(const ModelConfig& c, const LoraSpec& lora) {
  const int64_t qkv = (c.qk_norm ? 2 : 1) * (c.query_size() + 2 * c.kv_size());
  return 2 * c.hidden_size + qkv + c.query_size() + 2 * c.intermediate_size + FusedRank(lora);
}

int64_t AdapterParameters(const ModelConfig& config, const LoraSpec& lora) {
  int64_t count = 0;
  for (const Projection projection : lora.targets) {
    const ProjectionShape shape = ShapeOf(config, projection);
    count += lora.rank * (shape.in + shape.out);
  }
  return count * config.num_layers;
}

// A fused matrix and how many of its projections are adapted.
struct FusedShape {
  int64_t in = 0;
  int64_t out = 0;
  int64_t targets = 0;
};
std::array<FusedShape, kFusedLinearCount> FusedShapes(const ModelConfig& c, const LoraSpec& lora) {
  std::array<FusedShape, kFusedLinearCount> shapes{};
  for (int which = 0; which < kFusedLinearCount; ++which) {
    for (const Projection projection : ProjectionsOf(static_cast<FusedLinear>(which))) {
      const ProjectionShape shape = ShapeOf(c, projection);
      shapes[which].in = shape.in;
      shapes[which].out += shape.out;
      shapes[which].targets += std::count(lora.targets.begin(), lora.targets.end(), projection);
    }
  }
  return shapes;
}

// B is multiplied with its zeros: [all output rows, all ranks] of a fused matrix.
int64_t FusedParameters(const ModelConfig& c, const LoraSpec& lora) {
  int64_t layer = 0;
  for (const FusedShape& s : FusedShapes(c, lora)) layer += s.targets * lora.rank * (s.in + s.out);
  return c.num_layers * layer;
}

// As FactorGradients holds them.
int64_t LaneGradients(const ModelConfig& c, const LoraSpec& lora) {
  int64_t layer = 0;
  for (const FusedShape& s : FusedShapes(c, lora)) {
    layer += lora.rank * (s.targets * s.in + std::min<int64_t>(s.targets, 1) * s.out);
  }
  return c.num_layers * layer;
}

}  // namespace

MemoryEstimate EstimateTrainingMemory(const ModelConfig& config, ComputeType type,
                                      const MemoryQuestion& question) {
  const int64_t element = type == ComputeType::kFloat32 ? 4 : 2;
  const int64_t frozen_rank = question.frozen ? FusedRank(*question.frozen) : 0;
  const int64_t kept = (KeptPerToken(config, question.lora) + frozen_rank) * element +
                       4 * (2 + config.num_heads);  // norms and log-sum-exps are fp32
  MemoryEstimate estimate;
  estimate.activations =
      question.recompute_activations
          ? question.tokens * (config.num_layers * config.hidden_size * element + kept)
          : question.tokens * config.num_layers * kept;
  estimate.logits = std::min(question.lanes * kHeadChunkRows, question.supervised_tokens) *
                    config.vocab_size * element * (question.teacher_tokens > 0 ? 2 : 1);
  estimate.teacher = question.teacher_tokens * config.hidden_size * element;
  // Adapter, its gradient and two moments in fp32, and each lane's gradients; the fused factors in
  // the compute type.
  estimate.adapter = AdapterParameters(config, question.lora) * (16 + 4 * question.adapters_held) +
                     LaneGradients(config, question.lora) * 4 * question.lanes +
                     FusedParameters(config, question.lora) * element;
  if (question.frozen) {  // stacked below the trained ones; the frozen adapter itself is loaded
    estimate.adapter += FusedParameters(config, *question.frozen) * element;
  }
  // Residual and its gradient, a normed input, and the MLP's gate, up, activation and gradients.
  estimate.workspace =
      question.tokens * element * (4 * config.hidden_size + 4 * config.intermediate_size);
  // A state, its adapter and moments in fp32, stands beside the bytes that it is written to.
  const int64_t saved =
      2 * AdapterParameters(config, question.lora) * (12 + 4 * question.adapters_held);
  estimate.between_steps = std::max(saved, question.between_steps_bytes);
  estimate.slack = estimate.total() / 10 + question.lanes * kLaneSlack;
  estimate.fixed = question.fixed_bytes;
  return estimate;
}

absl::StatusOr<MicroBatchChoice> ChooseMicroBatch(const ModelConfig& config, ComputeType type,
                                                  MemoryQuestion question, int64_t wanted,
                                                  const RowLengths& rows, int64_t free_bytes) {
  int64_t needed = 0;
  for (const bool recompute : {false, true}) {
    question.recompute_activations = recompute;
    for (int64_t tokens = std::max(wanted, rows.longest);;
         tokens = std::max(tokens / 2, rows.longest)) {
      question.tokens = TokensAtOnce(tokens, rows, question.lanes);
      question.supervised_tokens = question.tokens;
      needed = EstimateTrainingMemory(config, type, question).total();
      if (needed <= free_bytes) return MicroBatchChoice{tokens, needed, recompute};
      if (tokens == rows.longest) break;
    }
  }
  return OutOfMemoryError(absl::StrFormat(
      "training needs %d MiB beside the model, even one row of %d tokens at a time and with "
      "activations recomputed; %d MiB are free. Lower max_row_tokens%s, or use a machine with more "
      "memory",
      needed >> 20, rows.longest, free_bytes >> 20,
      question.lora.targets.empty() ? "" : " or lora_rank"));
}

}  // namespace wardtune
