// Reads the tensors of a Hugging Face model into ModelWeights.
// Thread safety: re-entrant.
#ifndef WARDTUNE_WORKER_MODEL_WEIGHT_LOADER_H_
#define WARDTUNE_WORKER_MODEL_WEIGHT_LOADER_H_

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "worker/model/model_weights.h"

namespace wardtune {

// Loads model.safetensors, or the shards of model.safetensors.index.json, converting to `dtype`.
// Errors: NOT_FOUND for a missing file; INVALID_ARGUMENT for a tensor that is missing, has another
// shape than the config says, or another type than F32, F16, BF16.
absl::StatusOr<std::shared_ptr<const ModelWeights>> LoadModelWeights(const std::string& folder,
                                                                     const ModelConfig& config,
                                                                     at::ScalarType dtype,
                                                                     at::Device device);
// The same from the bytes of one safetensors file, which are copied.
absl::StatusOr<std::shared_ptr<const ModelWeights>> ParseModelWeights(std::string_view safetensors,
                                                                      const ModelConfig& config,
                                                                      at::ScalarType dtype,
                                                                      at::Device device);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_WEIGHT_LOADER_H_
