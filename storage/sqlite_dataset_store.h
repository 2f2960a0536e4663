// Data sets in SQLite.
#ifndef WARDTUNE_STORAGE_SQLITE_DATASET_STORE_H_
#define WARDTUNE_STORAGE_SQLITE_DATASET_STORE_H_

#include <string>

#include "storage/sqlite_context.h"

namespace wardtune {

// NOT_FOUND when the tenant has no such data set.
absl::StatusOr<DatasetRecord> FindDataset(Database& database, const std::string& tenant,
                                          const std::string& id);
// As FindDataset; FAILED_PRECONDITION with kReasonDatasetNotReady unless it is READY.
absl::StatusOr<DatasetRecord> FindReadyDataset(Database& database, const std::string& tenant,
                                               const std::string& id);

class SqliteDatasetStore final : public DatasetStore {
 public:
  explicit SqliteDatasetStore(SqliteContext& context) : context_(context) {}

  absl::StatusOr<Answer> CreateDataset(const std::string& tenant, const std::string& display_name,
                                       const RequestKey& key,
                                       Encode<DatasetRecord> encode) override;
  absl::StatusOr<DatasetRecord> GetDataset(const std::string& tenant,
                                           const std::string& id) override;
  absl::StatusOr<Page<DatasetRecord>> ListDatasets(const std::string& tenant,
                                                   const PageRequest& page) override;
  absl::Status RecordReceived(const std::string& tenant, const std::string& id,
                              int64_t received_bytes) override;
  absl::StatusOr<DatasetRecord> FinishDataset(const std::string& tenant, const std::string& id,
                                              const BlobRef& blob, int64_t row_count,
                                              const std::string& report) override;
  absl::StatusOr<DatasetRecord> RejectDataset(const std::string& tenant, const std::string& id,
                                              const std::string& report) override;
  absl::StatusOr<Answer> DeleteDataset(const std::string& tenant, const std::string& id,
                                       const std::string& etag, const RequestKey& key,
                                       Encode<DatasetRecord> encode) override;

 private:
  // RESOURCE_EXHAUSTED unless the tenant may hold `bytes` in this data set ("" for a new one, which
  // needs room for one byte).
  // RESOURCE_EXHAUSTED when the tenant has no room for another data set.
  absl::Status CheckCount(Database& database, const std::string& tenant);
  absl::Status CheckQuota(Database& database, const std::string& tenant, const std::string& id,
                          int64_t bytes);
  absl::Status SetReceived(Database& database, const std::string& tenant, const std::string& id,
                           int64_t received_bytes);

  SqliteContext& context_;
};

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_SQLITE_DATASET_STORE_H_
