// What a customer of a full-parameter job downloads: a Hugging Face model folder with its model
// card, as one tar file.
// Thread safety: pure functions.
#ifndef WARDTUNE_WORKER_AGENT_MODEL_EXPORT_H_
#define WARDTUNE_WORKER_AGENT_MODEL_EXPORT_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "formats/peft_adapter.h"
#include "worker/agent/result_card.h"
#include "worker/model/decoder.h"

namespace wardtune {

// `weights` are the bytes of model.safetensors (weight_writer.h), `companions` the base's other
// files: config, tokenizer, chat template. Equal arguments give equal bytes.
// Errors: INVALID_ARGUMENT for a value that is not finite or a file name that a tar cannot have.
absl::StatusOr<std::string> ExportModel(std::string weights, FileSet companions,
                                        const ResultFacts& facts);

// Reads a tar file that ExportModel wrote. The model has the base's config and compute type;
// `weights_sha256` is the digest that model.safetensors must have.
// Errors: INVALID_ARGUMENT naming what does not fit.
absl::StatusOr<DecoderModel> ParseModelTar(std::string_view tar, const std::string& weights_sha256,
                                           const DecoderModel& base);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_AGENT_MODEL_EXPORT_H_
