#include "server/model_catalog.h"

#include <simdjson.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "formats/folder_digest.h"
#include "formats/safetensors_reader.h"
#include "formats/tokenizer.h"
#include "server/resource_names.h"

namespace wardtune {
namespace {

// What `ls -l` shows of the folder, as one digest: cheap to make and different after any edit.
absl::StatusOr<std::string> Fingerprint(FileSystem& files, const std::string& folder) {
  WT_ASSIGN_OR_RETURN(const std::vector<std::string> names, files.List(folder));
  std::string listing;
  for (const std::string& name : names) {
    std::error_code error;
    const std::filesystem::path path = std::filesystem::path(folder) / name;
    if (!std::filesystem::is_regular_file(path, error)) continue;
    const auto changed = std::filesystem::last_write_time(path, error).time_since_epoch();
    const auto size = std::filesystem::file_size(path, error);
    if (error) return absl::UnavailableError(absl::StrCat(path.string(), ": ", error.message()));
    absl::StrAppend(&listing, name, "\n", static_cast<int64_t>(size), "\n",
                    std::chrono::duration_cast<std::chrono::nanoseconds>(changed).count(), "\n");
  }
  return Sha256Hex(listing);
}

// One line a model: `<id> <fingerprint> <digest>`.
class DigestCache {
 public:
  DigestCache(FileSystem& files, std::string path) : files_(files), path_(std::move(path)) {
    const absl::StatusOr<std::string> text = files_.ReadFile(path_);
    std::istringstream lines(text.ok() ? *text : "");
    std::string id;
    Entry entry;
    while (lines >> id >> entry.fingerprint >> entry.digest) entries_[id] = entry;
  }

  absl::StatusOr<std::string> DigestOf(const std::string& id, const std::string& folder) {
    WT_ASSIGN_OR_RETURN(const std::string fingerprint, Fingerprint(files_, folder));
    const auto found = entries_.find(id);
    if (found != entries_.end() && found->second.fingerprint == fingerprint) {
      return found->second.digest;
    }
    WT_ASSIGN_OR_RETURN(const std::string digest, ModelFolderDigest(files_, folder));
    entries_[id] = {fingerprint, digest};
    return digest;
  }

  absl::Status Save() {
    std::string text;
    for (const auto& [id, entry] : entries_) {
      absl::StrAppend(&text, id, " ", entry.fingerprint, " ", entry.digest, "\n");
    }
    return files_.WriteFileAtomically(path_, text);
  }

 private:
  struct Entry {
    std::string fingerprint;
    std::string digest;
  };

  FileSystem& files_;
  const std::string path_;
  std::map<std::string, Entry> entries_;
};

absl::Status ReadConfig(FileSystem& files, const std::string& folder, BaseModelRecord& model) {
  WT_ASSIGN_OR_RETURN(const std::string text, files.ReadFile(folder + "/config.json"));
  simdjson::dom::parser parser;
  simdjson::dom::element config;
  if (parser.parse(text).get(config) != simdjson::SUCCESS) {
    return absl::InvalidArgumentError(absl::StrCat(folder, "/config.json is not JSON"));
  }
  std::string_view architecture;
  int64_t context = 0;
  if (config["architectures"].at(0).get(architecture) != simdjson::SUCCESS ||
      config["max_position_embeddings"].get(context) != simdjson::SUCCESS || context < 1 ||
      context > INT32_MAX) {
    return absl::InvalidArgumentError(absl::StrCat(
        folder, "/config.json lacks `architectures` or a usable `max_position_embeddings`"));
  }
  model.architecture = std::string(architecture);
  model.context_length = static_cast<int32_t>(context);
  return absl::OkStatus();
}

// Elements of all tensors; a tied output head is stored, and counted, once.
absl::StatusOr<int64_t> CountParameters(FileSystem& files, const std::string& folder) {
  WT_ASSIGN_OR_RETURN(const std::vector<std::string> names, files.List(folder));
  int64_t parameters = 0;
  for (const std::string& name : names) {
    if (!absl::EndsWith(name, ".safetensors")) continue;
    WT_ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Open(absl::StrCat(folder, "/", name)));
    for (const auto& [tensor_name, tensor] : file->tensors()) {
      parameters += static_cast<int64_t>(tensor.data.size() / DTypeSize(tensor.dtype));
    }
  }
  return parameters;
}

}  // namespace

ModelCatalog::ModelCatalog(FileSystem& files, std::string models_folder)
    : files_(files), models_folder_(std::move(models_folder)) {}

ModelCatalog::~ModelCatalog() = default;

absl::StatusOr<std::unique_ptr<ModelCatalog>> ModelCatalog::Open(FileSystem& files,
                                                                 const std::string& models_folder,
                                                                 const std::string& cache_file) {
  auto catalog = std::unique_ptr<ModelCatalog>(new ModelCatalog(files, models_folder));
  if (models_folder.empty()) return catalog;
  WT_ASSIGN_OR_RETURN(const std::vector<std::string> names, files.List(models_folder));
  DigestCache digests(files, cache_file);
  for (const std::string& name : names) {
    const std::string folder = absl::StrCat(models_folder, "/", name);
    if (!files.Exists(folder + "/config.json")) continue;
    if (const absl::Status id = CheckModelId(name); !id.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(folder, ": the folder's name is the model's id, which ", id.message()));
    }
    BaseModelRecord model;
    model.id = name;
    WT_RETURN_IF_ERROR(ReadConfig(files, folder, model));
    WT_ASSIGN_OR_RETURN(model.parameter_count, CountParameters(files, folder));
    WT_ASSIGN_OR_RETURN(model.sha256, digests.DigestOf(name, folder));
    catalog->models_.push_back(std::move(model));
  }
  WT_RETURN_IF_ERROR(digests.Save());
  return catalog;
}

absl::StatusOr<const Tokenizer*> ModelCatalog::GetTokenizer(const std::string& model) {
  const bool known = std::any_of(models_.begin(), models_.end(),
                                 [&](const BaseModelRecord& m) { return m.id == model; });
  if (!known) return absl::NotFoundError("base model not found");
  absl::MutexLock lock(&mutex_);
  std::unique_ptr<Tokenizer>& tokenizer = tokenizers_[model];
  if (tokenizer == nullptr) {
    auto loaded = Tokenizer::Load(files_, absl::StrCat(models_folder_, "/", model));
    if (!loaded.ok()) {
      return absl::FailedPreconditionError(
          absl::StrCat("the tokenizer of base model ", model, " does not load"));
    }
    tokenizer = *std::move(loaded);
  }
  return tokenizer.get();
}

}  // namespace wardtune
