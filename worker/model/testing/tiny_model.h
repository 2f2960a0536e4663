// Small models with reproducible weights, written as Hugging Face folders. For tests.
// Thread safety: re-entrant.
#ifndef WARDTUNE_WORKER_MODEL_TESTING_TINY_MODEL_H_
#define WARDTUNE_WORKER_MODEL_TESTING_TINY_MODEL_H_

#include <string>
#include <vector>

#include "worker/model/decoder.h"

namespace wardtune::testing {

// The fp32 numbers that testdata/record_golden.py's formula_weights gives for a tensor.
std::vector<float> FormulaWeights(const std::string& name, int64_t count);

// Writes config.json and model.safetensors into a new folder below the test's temporary folder, and
// returns its path. With `shards` > 1 the tensors are spread over files with an index.
std::string WriteTinyModel(const std::string& name, const std::string& config_json, int shards = 1);

// A config.json of the given architecture with 2 layers, hidden size 32 and 67 tokens. `extra` is
// JSON that is appended to the fields, for example "\"tie_word_embeddings\": true".
std::string TinyConfig(const std::string& architecture, const std::string& extra = "");

// Writes and loads; fails the test when either does not work.
DecoderModel LoadTinyModel(const std::string& name, const std::string& config_json,
                           ComputeType type = ComputeType::kFloat32);

}  // namespace wardtune::testing

#endif  // WARDTUNE_WORKER_MODEL_TESTING_TINY_MODEL_H_
