// What a customer downloads: a PEFT adapter folder with its model card, as one tar file.
// Thread safety: pure functions.
#ifndef WARDTUNE_WORKER_AGENT_ADAPTER_EXPORT_H_
#define WARDTUNE_WORKER_AGENT_ADAPTER_EXPORT_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "formats/peft_adapter.h"
#include "worker/agent/result_card.h"
#include "worker/model/adapter.h"
#include "worker/model/model_config.h"

namespace wardtune {

// The adapter under transformers' module names. `base_model` goes into the config.
PeftAdapter ToPeftAdapter(const LoraAdapter& adapter, const std::string& base_model);
// The inverse, for adapters of `config`'s shape whose modules are the same in every layer.
// Errors: INVALID_ARGUMENT naming the module.
absl::StatusOr<LoraAdapter> FromPeftAdapter(const PeftAdapter& peft, const ModelConfig& config);
// Reads a PEFT folder. Errors: those of FromPeftAdapter and of the file system.
absl::StatusOr<LoraAdapter> LoadPeftFolder(FileSystem& files, const std::string& folder,
                                           const ModelConfig& config);
// Reads a tar file that ExportAdapter wrote, for a model of `config`'s shape. Errors:
// INVALID_ARGUMENT naming the entry, field or module.
absl::StatusOr<LoraAdapter> ParseAdapterTar(std::string_view tar, const ModelConfig& config);

// Equal adapters with equal facts give equal bytes.
// Errors: INVALID_ARGUMENT for a value that is not finite.
absl::StatusOr<std::string> ExportAdapter(const LoraAdapter& adapter, const ResultFacts& facts);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_AGENT_ADAPTER_EXPORT_H_
