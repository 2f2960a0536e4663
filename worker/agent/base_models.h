// The base models of a folder, each a Hugging Face folder by its name: loaded once, kept while jobs
// ask for the same one.
// Thread safety: a BaseModels belongs to one thread at a time, but for Names; a loaded model is
// immutable.
#ifndef WARDTUNE_WORKER_AGENT_BASE_MODELS_H_
#define WARDTUNE_WORKER_AGENT_BASE_MODELS_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "base/file_system.h"
#include "formats/peft_adapter.h"
#include "formats/tokenizer.h"
#include "worker/model/decoder.h"

namespace wardtune {

struct BaseModel {
  BaseModel(std::string model_name, std::string folder_digest, DecoderModel decoder,
            std::unique_ptr<Tokenizer> its_tokenizer)
      : name(std::move(model_name)),
        folder_sha256(std::move(folder_digest)),
        weights_sha256(decoder.WeightsDigest()),
        model(std::move(decoder)),
        tokenizer(std::move(its_tokenizer)) {}

  std::string name;            // `baseModels/{model}`
  std::string folder_sha256;   // ModelFolderDigest
  std::string weights_sha256;  // of the weights in memory when they had just been loaded
  DecoderModel model;
  std::unique_ptr<Tokenizer> tokenizer;
};

class BaseModels {
 public:
  // `files` must outlive the object.
  BaseModels(FileSystem& files, std::string folder, DecoderOptions options)
      : files_(files), folder_(std::move(folder)), options_(std::move(options)) {}

  // Resource names of the models whose folders are there, sorted.
  // Errors: NOT_FOUND when there is none.
  absl::StatusOr<std::vector<std::string>> Names() const;

  // Errors: NOT_FOUND for an unknown model; DATA_LOSS when the folder's digest is not
  // `folder_sha256`; those of DecoderModel::Load and Tokenizer::Load.
  absl::StatusOr<std::shared_ptr<const BaseModel>> Load(const std::string& name,
                                                        const std::string& folder_sha256);

  // The files that the digest of `base`'s folder covers, but for its weights: what a model that was
  // trained from it needs beside its own.
  // Errors: those of the file system; DATA_LOSS when the folder has other files meanwhile.
  absl::StatusOr<FileSet> Companions(const BaseModel& base) const;

 private:
  FileSystem& files_;
  const std::string folder_;
  const DecoderOptions options_;
  std::shared_ptr<const BaseModel> loaded_;
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_AGENT_BASE_MODELS_H_
