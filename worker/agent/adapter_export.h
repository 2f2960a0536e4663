// What a customer downloads: a PEFT adapter folder with its model card, as one tar file.
// Thread safety: pure functions.
#ifndef WARDTUNE_WORKER_AGENT_ADAPTER_EXPORT_H_
#define WARDTUNE_WORKER_AGENT_ADAPTER_EXPORT_H_

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "formats/peft_adapter.h"
#include "wardtune/v1/fine_tuning_service.pb.h"
#include "wardtune/v1/safety.pb.h"
#include "worker/model/adapter.h"
#include "worker/model/model_config.h"
#include "worker/safety/safety_scorer.h"

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

struct AdapterFacts {
  std::string base_model;  // `baseModels/{model}`
  v1::Hyperparameters hyperparameters;
  v1::ProtectionProof proof;
  std::string dataset_sha256;
  v1::Progress progress;  // of the last step
  SafetyResult before;
  std::optional<SafetyResult> start;  // of base + start adapter, where there is one
  SafetyResult after;
};

// The model card of a result. Holds nothing that differs between two runs of the same job: the
// bytes must be the same.
ModelCard ResultCard(const AdapterFacts& facts);

// Equal adapters with equal facts give equal bytes.
// Errors: INVALID_ARGUMENT for a value that is not finite.
absl::StatusOr<std::string> ExportAdapter(const LoraAdapter& adapter, const AdapterFacts& facts);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_AGENT_ADAPTER_EXPORT_H_
