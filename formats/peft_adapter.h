// A LoRA adapter in the folder layout of PEFT (https://huggingface.co/docs/peft): what a customer
// downloads, and what a chained job starts from.
//
//   adapter_config.json        rank, alpha, target modules
//   adapter_model.safetensors  base_model.model.<module>.lora_{A,B}.weight, fp32
//   README.md                  model card: base model, training facts, safety scores
// The same adapter gives the same bytes.
// Thread safety: values and re-entrant functions.
#ifndef WARDTUNE_FORMATS_PEFT_ADAPTER_H_
#define WARDTUNE_FORMATS_PEFT_ADAPTER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/file_system.h"
#include "formats/model_card.h"

namespace wardtune {

// The two factors of one linear layer: W + (alpha / rank) * B * A.
struct LoraModule {
  int64_t in_features = 0;
  int64_t out_features = 0;
  std::vector<float> a;  // [rank, in_features], row-major
  std::vector<float> b;  // [out_features, rank], row-major
};

struct PeftAdapter {
  std::string base_model;  // "base_model_name_or_path" of the config, for example a hub id
  int64_t rank = 0;
  double alpha = 0;  // finite, > 0
  // By module path in the transformers model, for example "model.layers.0.self_attn.q_proj".
  std::map<std::string, LoraModule> modules;
};

// File name to bytes, flat.
using FileSet = std::map<std::string, std::string, std::less<>>;

// The three files.
// Errors: INVALID_ARGUMENT for no module, a bad rank or alpha, a factor of the wrong size, or a
// value that is NaN or infinite, naming the module.
absl::StatusOr<FileSet> BuildPeftAdapter(const PeftAdapter& adapter, const ModelCard& card);

// Reads the config and the tensors back. Refuses what we could not train on exactly: another PEFT
// type, DoRA, rsLoRA, biases, rank or alpha patterns, a module with one factor, factors of another
// rank, NaN. fp16 and bf16 factors are widened.
// Errors: INVALID_ARGUMENT naming file and field or tensor.
absl::StatusOr<PeftAdapter> ParsePeftAdapter(const FileSet& files);

// Writes each file atomically into `folder`, which is created.
absl::Status WriteFileSet(const FileSet& set, FileSystem& files, const std::string& folder);

}  // namespace wardtune

#endif  // WARDTUNE_FORMATS_PEFT_ADAPTER_H_
