// The base models on offer: the Hugging Face folders in one folder, each named like its id.
//
// Facts are read from config.json and the headers of the weights. A folder's digest costs about a
// second per gigabyte, so it is kept in a cache file and made again only when the name, size or
// change time of a file differs.
// Thread safety: all methods may be called from any thread. Open() and the first GetTokenizer() of
// a model block for long.
#ifndef WARDTUNE_SERVER_MODEL_CATALOG_H_
#define WARDTUNE_SERVER_MODEL_CATALOG_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "base/file_system.h"
#include "storage/records.h"

namespace wardtune {

class Tokenizer;

class ModelCatalog {
 public:
  // `models_folder` may be empty: no model is on offer. `cache_file` need not exist.
  // Errors: NOT_FOUND for a missing folder; INVALID_ARGUMENT for a model folder whose name is no id
  // or whose config.json or weights do not parse, naming it.
  static absl::StatusOr<std::unique_ptr<ModelCatalog>> Open(FileSystem& files,
                                                            const std::string& models_folder,
                                                            const std::string& cache_file);
  ~ModelCatalog();

  // By id, for ModelStore::OfferBaseModels.
  const std::vector<BaseModelRecord>& models() const { return models_; }

  // The model's tokenizer, which lives as long as the catalog.
  // Errors: NOT_FOUND for an unknown model; FAILED_PRECONDITION when its files do not load.
  absl::StatusOr<const Tokenizer*> GetTokenizer(const std::string& model);

 private:
  ModelCatalog(FileSystem& files, std::string models_folder);

  FileSystem& files_;
  const std::string models_folder_;
  std::vector<BaseModelRecord> models_;  // constant after Open

  absl::Mutex mutex_;
  std::map<std::string, std::unique_ptr<Tokenizer>> tokenizers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_MODEL_CATALOG_H_
