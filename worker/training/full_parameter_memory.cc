#include "worker/training/full_parameter_memory.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "worker/model/out_of_memory.h"

namespace wardtune {
namespace {

int64_t ProjectionWeights(const ModelConfig& config) {
  int64_t weights = 0;
  for (const Projection projection : kAllProjections) {
    const ProjectionShape shape = ShapeOf(config, projection);
    weights += shape.out * shape.in;
  }
  return weights * config.num_layers;
}

}  // namespace

int64_t FullParameterCopies(std::span<const TrainingStream> streams,
                            const ValidationOptions& validation) {
  std::set<const ModelWeights*> models;
  for (const TrainingStream& stream : streams) models.insert(stream.model.weights().get());
  return std::ssize(models) + validation.results_held();
}

int64_t ProjectionBytes(const ModelConfig& config, ComputeType type) {
  return ProjectionWeights(config) * (type == ComputeType::kFloat32 ? 4 : 2);
}

int64_t FullParameterBytes(const ModelConfig& config, ComputeType type, int64_t copies) {
  return ProjectionWeights(config) * 4 * 4 + copies * ProjectionBytes(config, type);
}

absl::Status CheckFullParameterMemory(const ModelConfig& config, ComputeType type, int64_t copies,
                                      int64_t free_bytes) {
  const int64_t needed = FullParameterBytes(config, type, copies);
  if (needed <= free_bytes) return absl::OkStatus();
  return OutOfMemoryError(absl::StrCat("full-parameter training needs ", needed >> 20,
                                       " MiB besides the weights and there are ", free_bytes >> 20,
                                       " MiB free; train LoRA instead"));
}

}  // namespace wardtune
