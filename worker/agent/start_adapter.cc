#include "worker/agent/start_adapter.h"

#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/agent/adapter_export.h"
#include "worker/agent/job_error.h"
#include "worker/agent/training_settings.h"

namespace wardtune {
namespace {

// Model card, configuration, and what the formats put around the tensors.
constexpr int64_t kMostBytesBesideTensors = int64_t{4} << 20;

int64_t LargestTar(const LoraSpec& spec, const ModelConfig& config) {
  int64_t values = 0;
  for (const Projection projection : spec.targets) {
    const ProjectionShape shape = ShapeOf(config, projection);
    values += config.num_layers * spec.rank * (shape.in + shape.out);
  }
  return values * static_cast<int64_t>(sizeof(float)) + kMostBytesBesideTensors;
}

absl::StatusOr<LoraAdapter> Parse(std::string_view tar, const v1::FineTuningWork& work,
                                  const LoraSpec& spec, const ModelConfig& config) {
  WT_ASSIGN_OR_RETURN(LoraAdapter adapter, ParseAdapterTar(tar, config));
  if (adapter.spec.rank != spec.rank || adapter.spec.alpha != spec.alpha ||
      adapter.spec.targets != spec.targets) {
    return absl::InvalidArgumentError("its rank, alpha or target modules are not the job's");
  }
  if (AdapterDigest(adapter) != work.start_adapter().sha256()) {
    return absl::InvalidArgumentError("its tensors are not those that its proof names");
  }
  return adapter;
}

absl::Status Invalid(const v1::FineTuningWork& work, const absl::Status& status) {
  return WithJobReason(
      kInputInvalid,
      absl::Status(status.code(), absl::StrCat("start adapter ", work.start_adapter().name(), ": ",
                                               std::string(status.message()))));
}

}  // namespace

absl::StatusOr<LoraAdapter> FetchStartAdapter(Attempt& attempt, const v1::FineTuningWork& work,
                                              const ModelConfig& config) {
  const auto options = ToTrainerOptions(work.hyperparameters());
  if (!options.ok()) return WithJobReason(kInputInvalid, options.status());
  WT_RETURN_IF_ERROR(WithJobReason(kInputInvalid, ValidateLoraSpec(options->lora, config)));
  const int64_t largest = LargestTar(options->lora, config);
  if (attempt.InputSize(v1::WorkInput::KIND_START_ADAPTER) > largest) {
    return Invalid(work, absl::InvalidArgumentError(absl::StrCat(
                             "is larger than the ", largest, " bytes that the job's rank allows")));
  }
  WT_ASSIGN_OR_RETURN(const std::string tar,
                      attempt.Fetch(v1::WorkInput::KIND_START_ADAPTER, kInputMissing));
  auto adapter = Parse(tar, work, options->lora, config);
  if (!adapter.ok()) return Invalid(work, adapter.status());
  return adapter;
}

}  // namespace wardtune
