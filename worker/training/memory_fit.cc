#include "worker/training/memory_fit.h"

#include <algorithm>
#include <limits>

#include "base/free_memory.h"
#include "base/status_macros.h"
#include "worker/training/full_parameter_memory.h"
#include "worker/training/memory_estimate.h"
#include "worker/training/trainer_validation.h"

namespace wardtune {

std::optional<int64_t> FreeMemoryFor(const DecoderModel& model) {
  if (model.device_name() != "cpu") return std::nullopt;
  const auto free_bytes = FreeHostMemory();
  return free_bytes.ok() ? std::optional(*free_bytes) : std::nullopt;
}

absl::StatusOr<int64_t> FitIntoMemory(std::span<const TrainingStream> streams, TrainedPart trained,
                                      int64_t free_bytes, TrainerOptions& options) {
  const ModelConfig& config = streams[0].model.config();
  const ComputeType type = streams[0].model.compute_type();
  // The trainer keeps a copy of its options, and with them of the start.
  MemoryQuestion question{
      .lora = options.lora,
      .adapters_held = options.validation.results_held() + (options.start ? 1 : 0),
      .lanes = ComputeThreads()};
  if (trained == TrainedPart::kWeights) {
    question.lora.targets.clear();
    question.lanes = 1;
    const int64_t copies = FullParameterCopies(streams, options.validation);
    question.fixed_bytes = FullParameterBytes(config, type, copies);
    // What rows ran on is compared with a copy at the end, and the result is one.
    question.between_steps_bytes = ProjectionBytes(config, type);
  }
  if (streams[0].frozen != nullptr) {
    question.frozen = streams[0].frozen->spec;
    // Checks of the frozen adapter fold it into a copy (ActivationCheck::CheckBeside).
    question.between_steps_bytes = ProjectionBytes(config, type);
  }
  RowLengths lengths{.shortest = std::numeric_limits<int64_t>::max()};
  for (const TrainingStream& stream : streams) {
    for (const TrainingRow& row : stream.rows) {
      const auto tokens = static_cast<int64_t>(row.ids.size());
      lengths = {std::min(lengths.shortest, tokens), std::max(lengths.longest, tokens)};
      if (stream.objective != Objective::kCrossEntropy) {
        question.teacher_tokens += SupervisedTokens(row);
      }
    }
  }
  WT_ASSIGN_OR_RETURN(
      const MicroBatchChoice choice,
      ChooseMicroBatch(config, type, question, options.micro_batch_tokens, lengths, free_bytes));
  options.micro_batch_tokens = std::min(options.micro_batch_tokens, choice.tokens);
  options.recompute_activations |= choice.recompute_activations;
  return choice.bytes;
}

}  // namespace wardtune
