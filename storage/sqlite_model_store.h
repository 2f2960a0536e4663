// Base models in SQLite.
#ifndef WARDTUNE_STORAGE_SQLITE_MODEL_STORE_H_
#define WARDTUNE_STORAGE_SQLITE_MODEL_STORE_H_

#include <string>
#include <vector>

#include "storage/sqlite_context.h"

namespace wardtune {

// NOT_FOUND when the model is not on offer.
absl::StatusOr<BaseModelRecord> FindBaseModel(Database& database, const std::string& id);

class SqliteModelStore final : public ModelStore {
 public:
  explicit SqliteModelStore(SqliteContext& context) : context_(context) {}

  absl::Status OfferBaseModels(const std::vector<BaseModelRecord>& models) override;
  absl::StatusOr<BaseModelRecord> GetBaseModel(const std::string& id) override;
  absl::StatusOr<Page<BaseModelRecord>> ListBaseModels(const PageRequest& page) override;

 private:
  SqliteContext& context_;
};

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_SQLITE_MODEL_STORE_H_
