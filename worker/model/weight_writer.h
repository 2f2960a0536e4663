// Writes ModelWeights as the tensors of a Hugging Face model: the inverse of weight_loader.h.
// Thread safety: re-entrant.
#ifndef WARDTUNE_WORKER_MODEL_WEIGHT_WRITER_H_
#define WARDTUNE_WORKER_MODEL_WEIGHT_WRITER_H_

#include <string>

#include "absl/status/statusor.h"
#include "worker/model/decoder.h"

namespace wardtune {

// The bytes of model.safetensors: matrices and biases in the model's compute type, norms in fp32,
// without an output head where it is the embedding. The same weights give the same bytes, and those
// read back give the same weights.
// Errors: INVALID_ARGUMENT naming a tensor that holds NaN or infinity; RESOURCE_EXHAUSTED.
absl::StatusOr<std::string> SerializeModelWeights(const DecoderModel& model);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_WEIGHT_WRITER_H_
