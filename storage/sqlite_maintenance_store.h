// Upkeep of the SQLite store.
#ifndef WARDTUNE_STORAGE_SQLITE_MAINTENANCE_STORE_H_
#define WARDTUNE_STORAGE_SQLITE_MAINTENANCE_STORE_H_

#include <optional>
#include <set>
#include <string>

#include "storage/sqlite_context.h"

namespace wardtune {

class SqliteMaintenanceStore final : public MaintenanceStore {
 public:
  explicit SqliteMaintenanceStore(SqliteContext& context) : context_(context) {}

  absl::StatusOr<std::optional<std::string>> FindAnswer(const RequestKey& key) override;
  absl::Status ForgetAnswers(absl::Duration age) override;
  absl::StatusOr<std::set<std::string>> ReferencedBlobs() override;
  absl::StatusOr<std::set<std::string>> UploadingDatasets() override;

 private:
  absl::StatusOr<std::set<std::string>> ReadStrings(const char* sql);

  SqliteContext& context_;
};

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_SQLITE_MAINTENANCE_STORE_H_
