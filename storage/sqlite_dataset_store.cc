#include "storage/sqlite_dataset_store.h"

#include "storage/error_reason.h"
#include "storage/not_found.h"
#include "storage/random_id.h"
#include "storage/sqlite_tenant_store.h"

namespace wardtune {
namespace {

#define DATASET_COLUMNS                                                                      \
  "id, tenant, display_name, state, received_bytes, sha256, row_count, report, create_time," \
  " update_time, revision"

constexpr char kInsertDataset[] =
    "INSERT INTO dataset (" DATASET_COLUMNS ") VALUES (?, ?, ?, 1, 0, '', 0, x'', ?, ?, 1)";
constexpr char kGetDataset[] =
    "SELECT " DATASET_COLUMNS " FROM dataset WHERE tenant = ? AND id = ?";
constexpr char kListDatasets[] =
    "SELECT seq, " DATASET_COLUMNS
    " FROM dataset WHERE tenant = ? AND seq < ? ORDER BY seq DESC LIMIT ?";
constexpr char kStoredBytes[] =
    "SELECT COALESCE(SUM(received_bytes), 0) FROM dataset WHERE tenant = ? AND id <> ?";
constexpr char kCountDatasets[] = "SELECT COUNT(*) FROM dataset WHERE tenant = ?";
constexpr char kSetReceived[] =
    "UPDATE dataset SET received_bytes = ?, update_time = ?, revision = revision + 1"
    " WHERE tenant = ? AND id = ? AND state = 1";
constexpr char kFinishDataset[] =
    "UPDATE dataset SET state = 2, sha256 = ?, row_count = ?, report = ?, update_time = ?,"
    " revision = revision + 1 WHERE tenant = ? AND id = ? AND state = 1";
constexpr char kRejectDataset[] =
    "UPDATE dataset SET state = 3, received_bytes = 0, report = ?, update_time = ?,"
    " revision = revision + 1 WHERE tenant = ? AND id = ? AND state = 1";
constexpr char kUsedBy[] =
    "SELECT id FROM job WHERE (dataset_id = ?1 OR general_id = ?1) AND state IN (1, 2, 3) LIMIT 1";
constexpr char kDeleteDataset[] = "DELETE FROM dataset WHERE tenant = ? AND id = ?";

DatasetRecord ReadDataset(Statement& row) {
  DatasetRecord dataset;
  dataset.id = row.Text();
  dataset.tenant = row.Text();
  dataset.display_name = row.Text();
  dataset.state = row.As<DatasetState>();
  dataset.received_bytes = row.Int();
  dataset.sha256 = row.Text();
  dataset.row_count = row.Int();
  dataset.report = row.Text();
  dataset.create_time = row.Time();
  dataset.update_time = row.Time();
  dataset.etag = row.Text();
  return dataset;
}

const char* Name(DatasetState state) {
  switch (state) {
    case DatasetState::kUploading:
      return "UPLOADING";
    case DatasetState::kReady:
      return "READY";
    case DatasetState::kRejected:
      return "REJECTED";
  }
  return "UNKNOWN";
}

absl::Status RequireUploading(const DatasetRecord& dataset) {
  if (dataset.state == DatasetState::kUploading) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "dataset ", dataset.id, " is ", Name(dataset.state), " and takes no more bytes"));
}

}  // namespace

absl::StatusOr<DatasetRecord> FindDataset(Database& database, const std::string& tenant,
                                          const std::string& id) {
  WT_ASSIGN_OR_RETURN(Statement row, database.Query(kGetDataset, tenant, id));
  WT_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return NotFound("dataset", id);
  return ReadDataset(row);
}

absl::StatusOr<DatasetRecord> FindReadyDataset(Database& database, const std::string& tenant,
                                               const std::string& id) {
  WT_ASSIGN_OR_RETURN(DatasetRecord dataset, FindDataset(database, tenant, id));
  if (dataset.state == DatasetState::kReady) return dataset;
  return WithReason(
      absl::FailedPreconditionError(absl::StrCat("dataset ", id, " is ", Name(dataset.state),
                                                 "; finish a valid upload first")),
      kReasonDatasetNotReady);
}

absl::Status SqliteDatasetStore::CheckQuota(Database& database, const std::string& tenant,
                                            const std::string& id, int64_t bytes) {
  WT_ASSIGN_OR_RETURN(const TenantRecord owner, FindTenant(database, tenant));
  const int64_t quota = owner.max_dataset_bytes > 0 ? owner.max_dataset_bytes
                                                    : context_.options.default_max_dataset_bytes;
  WT_ASSIGN_OR_RETURN(Statement row, database.Query(kStoredBytes, tenant, id));
  WT_RETURN_IF_ERROR(row.Step().status());
  const int64_t others = row.Int();
  if (bytes <= quota - others) return absl::OkStatus();
  return WithReason(absl::ResourceExhaustedError(absl::StrCat(
                        "data sets may hold ", quota, " bytes in all and hold ", others,
                        " without this one; delete data sets or ask for a larger quota")),
                    kReasonDatasetBytesQuota);
}

absl::Status SqliteDatasetStore::CheckCount(Database& database, const std::string& tenant) {
  WT_ASSIGN_OR_RETURN(Statement row, database.Query(kCountDatasets, tenant));
  WT_RETURN_IF_ERROR(row.Step().status());
  if (row.Int() < context_.options.max_datasets) return absl::OkStatus();
  return WithReason(
      absl::ResourceExhaustedError(absl::StrCat("there may be ", context_.options.max_datasets,
                                                " data sets; delete those no longer needed")),
      kReasonDatasetsQuota);
}

absl::StatusOr<Answer> SqliteDatasetStore::CreateDataset(const std::string& tenant,
                                                         const std::string& display_name,
                                                         const RequestKey& key,
                                                         Encode<DatasetRecord> encode) {
  WT_ASSIGN_OR_RETURN(const std::string id, RandomId());
  return Mutate<DatasetRecord>(
      context_, key, encode, [&](Database& database) -> absl::StatusOr<DatasetRecord> {
        WT_RETURN_IF_ERROR(CheckQuota(database, tenant, "", 1));
        WT_RETURN_IF_ERROR(CheckCount(database, tenant));
        const absl::Time now = context_.clock.Now();
        WT_RETURN_IF_ERROR(
            database.Run(kInsertDataset, id, tenant, display_name, now, now).status());
        return FindDataset(database, tenant, id);
      });
}

absl::StatusOr<DatasetRecord> SqliteDatasetStore::GetDataset(const std::string& tenant,
                                                             const std::string& id) {
  return ReadWith<DatasetRecord>(
      context_, [&](Database& database) { return FindDataset(database, tenant, id); });
}

absl::StatusOr<Page<DatasetRecord>> SqliteDatasetStore::ListDatasets(const std::string& tenant,
                                                                     const PageRequest& page) {
  const std::string scope = absl::StrCat("datasets/", tenant);
  WT_ASSIGN_OR_RETURN(const PageWindow window, OpenPage(context_, page, scope));
  return ReadWith<Page<DatasetRecord>>(
      context_, [&](Database& database) -> absl::StatusOr<Page<DatasetRecord>> {
        WT_ASSIGN_OR_RETURN(Statement rows, database.Query(kListDatasets, tenant, window.before_seq,
                                                           window.limit + 1));
        return ReadPage<DatasetRecord>(context_, window, std::move(rows), ReadDataset);
      });
}

absl::Status SqliteDatasetStore::SetReceived(Database& database, const std::string& tenant,
                                             const std::string& id, int64_t received_bytes) {
  WT_ASSIGN_OR_RETURN(const DatasetRecord dataset, FindDataset(database, tenant, id));
  WT_RETURN_IF_ERROR(RequireUploading(dataset));
  WT_RETURN_IF_ERROR(CheckQuota(database, tenant, id, received_bytes));
  return database.Run(kSetReceived, received_bytes, context_.clock.Now(), tenant, id).status();
}

absl::Status SqliteDatasetStore::RecordReceived(const std::string& tenant, const std::string& id,
                                                int64_t received_bytes) {
  return context_.connections->Write(
      [&](Database& database) { return SetReceived(database, tenant, id, received_bytes); });
}

absl::StatusOr<DatasetRecord> SqliteDatasetStore::FinishDataset(const std::string& tenant,
                                                                const std::string& id,
                                                                const BlobRef& blob,
                                                                int64_t row_count,
                                                                const std::string& report) {
  return WriteWith<DatasetRecord>(
      context_, [&](Database& database) -> absl::StatusOr<DatasetRecord> {
        WT_RETURN_IF_ERROR(SetReceived(database, tenant, id, blob.size_bytes));
        WT_RETURN_IF_ERROR(database
                               .Run(kFinishDataset, blob.sha256, row_count, Bytes{report},
                                    context_.clock.Now(), tenant, id)
                               .status());
        return FindDataset(database, tenant, id);
      });
}

absl::StatusOr<DatasetRecord> SqliteDatasetStore::RejectDataset(const std::string& tenant,
                                                                const std::string& id,
                                                                const std::string& report) {
  return WriteWith<DatasetRecord>(
      context_, [&](Database& database) -> absl::StatusOr<DatasetRecord> {
        WT_ASSIGN_OR_RETURN(const DatasetRecord dataset, FindDataset(database, tenant, id));
        WT_RETURN_IF_ERROR(RequireUploading(dataset));
        WT_RETURN_IF_ERROR(
            database.Run(kRejectDataset, Bytes{report}, context_.clock.Now(), tenant, id).status());
        return FindDataset(database, tenant, id);
      });
}

absl::StatusOr<Answer> SqliteDatasetStore::DeleteDataset(const std::string& tenant,
                                                         const std::string& id,
                                                         const std::string& etag,
                                                         const RequestKey& key,
                                                         Encode<DatasetRecord> encode) {
  return Mutate<DatasetRecord>(
      context_, key, encode, [&](Database& database) -> absl::StatusOr<DatasetRecord> {
        WT_ASSIGN_OR_RETURN(DatasetRecord dataset, FindDataset(database, tenant, id));
        if (!etag.empty() && etag != dataset.etag) {
          return absl::AbortedError(absl::StrCat("etag: dataset ", id, " has changed to ",
                                                 dataset.etag, "; read it again"));
        }
        WT_ASSIGN_OR_RETURN(Statement user, database.Query(kUsedBy, id));
        WT_ASSIGN_OR_RETURN(const bool used, user.Step());
        if (used) {
          return absl::FailedPreconditionError(
              absl::StrCat("dataset ", id, " is in use by job ", user.Text(),
                           "; cancel it or wait until it has ended"));
        }
        WT_RETURN_IF_ERROR(database.Run(kDeleteDataset, tenant, id).status());
        return dataset;
      });
}

}  // namespace wardtune
