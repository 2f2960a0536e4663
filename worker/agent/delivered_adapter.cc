#include "worker/agent/delivered_adapter.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/agent/adapter_export.h"
#include "worker/agent/job_error.h"
#include "worker/agent/model_export.h"
#include "worker/agent/training_settings.h"

namespace wardtune {
namespace {

// Model card, configuration, and what the formats put around the tensors.
constexpr int64_t kMostBytesBesideTensors = int64_t{4} << 20;
// A model has the tokenizer's files as well.
constexpr int64_t kMostBytesBesideWeights = int64_t{256} << 20;

int64_t LargestTar(const LoraSpec& spec, const ModelConfig& config) {
  int64_t values = 0;
  for (const Projection projection : spec.targets) {
    const ProjectionShape shape = ShapeOf(config, projection);
    values += config.num_layers * spec.rank * (shape.in + shape.out);
  }
  return values * static_cast<int64_t>(sizeof(float)) + kMostBytesBesideTensors;
}

// The error names the adapter.
absl::Status Refusal(std::string_view reason, const v1::DeliveredAdapter& named,
                     const absl::Status& status) {
  return WithJobReason(reason,
                       absl::Status(status.code(), absl::StrCat("adapter ", named.name(), ": ",
                                                                std::string(status.message()))));
}

absl::Status CheckBase(const v1::DeliveredAdapter& named, const BaseModel& base) {
  if (named.base_sha256() == base.folder_sha256) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("it was trained on files of ", base.name, " with digest '", named.base_sha256(),
                   "', and this worker has loaded those with digest ", base.folder_sha256,
                   "; it fits those that it was trained on alone, so offer them again"));
}

absl::StatusOr<LoraAdapter> Parse(std::string_view tar, const v1::DeliveredAdapter& named,
                                  const LoraSpec& spec, const ModelConfig& config) {
  WT_ASSIGN_OR_RETURN(LoraAdapter adapter, ParseAdapterTar(tar, config));
  if (adapter.spec.rank != spec.rank || adapter.spec.alpha != spec.alpha ||
      adapter.spec.targets != spec.targets) {
    return absl::InvalidArgumentError(
        "its rank, alpha or target modules are not those of the hyperparameters in the lease");
  }
  if (AdapterDigest(adapter) != named.sha256()) {
    return absl::InvalidArgumentError("its tensors are not those that its proof names");
  }
  return adapter;
}

}  // namespace

absl::StatusOr<LoraAdapter> FetchDeliveredAdapter(Attempt& attempt, v1::WorkInput::Kind kind,
                                                  const v1::DeliveredAdapter& named,
                                                  const v1::Hyperparameters& made_with,
                                                  const BaseModel& base) {
  if (const absl::Status same = CheckBase(named, base); !same.ok()) {
    return Refusal(kBaseModelMismatch, named, same);
  }
  const ModelConfig& config = base.model.config();
  const auto options = ToTrainerOptions(made_with);
  if (!options.ok()) return WithJobReason(kInputInvalid, options.status());
  WT_RETURN_IF_ERROR(WithJobReason(kInputInvalid, ValidateLoraSpec(options->lora, config)));
  const int64_t largest = LargestTar(options->lora, config);
  if (attempt.InputSize(kind) > largest) {
    return Refusal(kInputInvalid, named,
                   absl::InvalidArgumentError(absl::StrCat("is larger than the ", largest,
                                                           " bytes that its rank allows")));
  }
  WT_ASSIGN_OR_RETURN(const std::string tar, attempt.Fetch(kind, kInputMissing));
  auto adapter = Parse(tar, named, options->lora, config);
  if (!adapter.ok()) return Refusal(kInputInvalid, named, adapter.status());
  return adapter;
}

absl::StatusOr<DecoderModel> FetchDeliveredModel(Attempt& attempt, v1::WorkInput::Kind kind,
                                                 const v1::DeliveredAdapter& named,
                                                 const BaseModel& base) {
  if (const absl::Status same = CheckBase(named, base); !same.ok()) {
    return Refusal(kBaseModelMismatch, named, same);
  }
  // A worker with another compute type may have written it: fp32 is the widest.
  const int64_t widen = base.model.compute_type() == ComputeType::kFloat32 ? 1 : 2;
  const int64_t largest = widen * base.model.weight_bytes() + kMostBytesBesideWeights;
  if (attempt.InputSize(kind) > largest) {
    return Refusal(kInputInvalid, named,
                   absl::InvalidArgumentError(absl::StrCat("is larger than the ", largest,
                                                           " bytes that its base model allows")));
  }
  WT_ASSIGN_OR_RETURN(const std::string tar, attempt.Fetch(kind, kInputMissing));
  auto model = ParseModelTar(tar, named.sha256(), base.model);
  if (!model.ok()) return Refusal(kInputInvalid, named, model.status());
  return model;
}

}  // namespace wardtune
