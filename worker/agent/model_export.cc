#include "worker/agent/model_export.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "formats/tar_archive.h"
#include "worker/model/model_weights.h"
#include "worker/model/torch_boundary.h"
#include "worker/model/weight_loader.h"

namespace wardtune {
namespace {

constexpr char kWeightsFile[] = "model.safetensors";
constexpr char kCardFile[] = "README.md";

}  // namespace

absl::StatusOr<std::string> ExportModel(std::string weights, FileSet companions,
                                        const ResultFacts& facts) {
  const std::string base(absl::StripPrefix(facts.base_model, "baseModels/"));
  companions[kWeightsFile] = std::move(weights);
  companions[kCardFile] =
      RenderModelCard(base, "transformers", "full-parameter", ResultCard(facts));
  return WriteTar(companions);
}

absl::StatusOr<DecoderModel> ParseModelTar(std::string_view tar, const std::string& weights_sha256,
                                           const DecoderModel& base) {
  WT_ASSIGN_OR_RETURN(const FileSet files, ReadTar(tar));
  const auto found = files.find(kWeightsFile);
  if (found == files.end()) {
    return absl::InvalidArgumentError(absl::StrCat("the model lacks ", kWeightsFile));
  }
  if (Sha256Hex(found->second) != weights_sha256) {
    return absl::InvalidArgumentError("its tensors are not those that its proof names");
  }
  return AtTorchBoundary("reading a model", [&]() -> absl::StatusOr<DecoderModel> {
    const ModelWeights& like = *base.weights();
    WT_ASSIGN_OR_RETURN(auto weights,
                        ParseModelWeights(found->second, base.config(), like.dtype, like.device));
    return DecoderModel(std::move(weights));
  });
}

}  // namespace wardtune
