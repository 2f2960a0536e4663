#include "worker/agent/base_models.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "formats/folder_digest.h"

namespace wardtune {
namespace {

constexpr const char* kPrefix = "baseModels/";

}  // namespace

absl::StatusOr<std::vector<std::string>> BaseModels::Names() const {
  WT_ASSIGN_OR_RETURN(const std::vector<std::string> entries, files_.List(folder_));
  std::vector<std::string> names;
  for (const std::string& entry : entries) {
    if (files_.Exists(absl::StrCat(folder_, "/", entry, "/config.json"))) {
      names.push_back(absl::StrCat(kPrefix, entry));
    }
  }
  if (names.empty()) {
    return absl::NotFoundError(
        absl::StrCat(folder_, ": holds no model folder (one with a config.json)"));
  }
  return names;
}

absl::StatusOr<std::shared_ptr<const BaseModel>> BaseModels::Load(
    const std::string& name, const std::string& folder_sha256) {
  if (loaded_ != nullptr && loaded_->name == name && loaded_->folder_sha256 == folder_sha256) {
    return loaded_;
  }
  const std::string entry(absl::StripPrefix(name, kPrefix));
  if (!absl::StartsWith(name, kPrefix) || entry.empty() || absl::StrContains(entry, '/') ||
      entry[0] == '.') {
    return absl::NotFoundError(absl::StrCat("no base model '", name, "'"));
  }
  // One that is loaded with another digest is read once more: the folder may have been replaced
  // since.
  const std::string folder = absl::StrCat(folder_, "/", entry);
  WT_ASSIGN_OR_RETURN(std::string digest, ModelFolderDigest(files_, folder));
  if (digest != folder_sha256) {
    return absl::DataLossError(absl::StrCat(name, ": this worker's folder has digest ", digest,
                                            ", the job needs ", folder_sha256));
  }
  loaded_.reset();  // frees the memory of the one before
  WT_ASSIGN_OR_RETURN(DecoderModel model, DecoderModel::Load(folder, options_));
  WT_ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer> tokenizer, Tokenizer::Load(files_, folder));
  loaded_ =
      std::make_shared<BaseModel>(name, std::move(digest), std::move(model), std::move(tokenizer));
  return loaded_;
}

absl::StatusOr<FileSet> BaseModels::Companions(const BaseModel& base) const {
  const std::string folder =
      absl::StrCat(folder_, "/", std::string(absl::StripPrefix(base.name, kPrefix)));
  WT_ASSIGN_OR_RETURN(const std::vector<std::string> names, files_.List(folder));
  FileSet set;
  for (const std::string& name : names) {
    const bool of_weights =
        absl::EndsWith(name, ".safetensors") || absl::EndsWith(name, ".index.json");
    if (of_weights || !IsCoveredByFolderDigest(name)) continue;
    WT_ASSIGN_OR_RETURN(set[name], files_.ReadFile(absl::StrCat(folder, "/", name)));
  }
  WT_ASSIGN_OR_RETURN(const std::string digest, ModelFolderDigest(files_, folder));
  if (digest == base.folder_sha256) return set;
  return absl::DataLossError(absl::StrCat(base.name, ": this worker's folder has digest ", digest,
                                          " now, and ", base.folder_sha256,
                                          " when the model was loaded"));
}

}  // namespace wardtune
