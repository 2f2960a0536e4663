#include "storage/sqlite_store.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "storage/process_lock.h"
#include "storage/random_id.h"
#include "storage/sqlite_audit_store.h"
#include "storage/sqlite_connections.h"
#include "storage/sqlite_context.h"
#include "storage/sqlite_database.h"
#include "storage/sqlite_dataset_store.h"
#include "storage/sqlite_job_store.h"
#include "storage/sqlite_maintenance_store.h"
#include "storage/sqlite_migrations.h"
#include "storage/sqlite_model_store.h"
#include "storage/sqlite_output_report_store.h"
#include "storage/sqlite_safety_store.h"
#include "storage/sqlite_security_vector_store.h"
#include "storage/sqlite_tenant_store.h"
#include "storage/sqlite_work_queue.h"

namespace wardtune {
namespace {

constexpr char kIntegrityCheck[] = "PRAGMA integrity_check(1)";
constexpr char kForeignKeyCheck[] = "PRAGMA foreign_key_check";
constexpr char kAddProvider[] =
    "INSERT INTO tenant (id, display_name, max_active_jobs, max_dataset_bytes, create_time)"
    " VALUES (?, 'Provider', 0, 0, ?) ON CONFLICT DO NOTHING";
constexpr char kGetSecret[] = "SELECT value FROM setting WHERE name = 'page_token_secret'";
constexpr char kAddSecret[] =
    "INSERT INTO setting (name, value) VALUES ('page_token_secret', ?) ON CONFLICT DO NOTHING";

class SqliteStoreImpl final : public SqliteStore {
 public:
  SqliteStoreImpl(SqliteContext context, std::unique_ptr<ProcessLock> lock)
      : lock_(std::move(lock)),
        context_(std::move(context)),
        tenants_(context_),
        datasets_(context_),
        models_(context_),
        security_vectors_(context_),
        jobs_(context_),
        work_(context_),
        safety_(context_),
        reports_(context_),
        audits_(context_),
        maintenance_(context_) {}

  TenantStore& tenants() override { return tenants_; }
  DatasetStore& datasets() override { return datasets_; }
  ModelStore& models() override { return models_; }
  SecurityVectorStore& security_vectors() override { return security_vectors_; }
  JobStore& jobs() override { return jobs_; }
  WorkQueue& work() override { return work_; }
  SafetyStore& safety() override { return safety_; }
  OutputReportStore& reports() override { return reports_; }
  AuditStore& audits() override { return audits_; }
  MaintenanceStore& maintenance() override { return maintenance_; }

 private:
  // Released last, when the connections are closed.
  std::unique_ptr<ProcessLock> lock_;
  SqliteContext context_;
  SqliteTenantStore tenants_;
  SqliteDatasetStore datasets_;
  SqliteModelStore models_;
  SqliteSecurityVectorStore security_vectors_;
  SqliteJobStore jobs_;
  SqliteWorkQueue work_;
  SqliteSafetyStore safety_;
  SqliteOutputReportStore reports_;
  SqliteAuditStore audits_;
  SqliteMaintenanceStore maintenance_;
};

absl::Status CheckIntegrity(Database& database) {
  std::string finding;
  {
    WT_ASSIGN_OR_RETURN(Statement row, database.Query(kIntegrityCheck));
    WT_RETURN_IF_ERROR(row.Step().status());
    finding = row.Text();
  }
  if (finding == "ok") {
    WT_ASSIGN_OR_RETURN(Statement row, database.Query(kForeignKeyCheck));
    WT_ASSIGN_OR_RETURN(const bool broken, row.Step());
    if (!broken) return absl::OkStatus();
    finding = absl::StrCat("table ", row.Text(), " refers to a missing row");
  }
  return absl::DataLossError(absl::StrCat("database ", database.path(), ": ", finding,
                                          "; the file is damaged: stop the server and restore it, "
                                          "with its -wal file removed, from a backup"));
}

// The provider's tenant and the secret of the page tokens; both are made once.
absl::StatusOr<std::string> PrepareFirstStart(Database& database, absl::Time now) {
  WT_ASSIGN_OR_RETURN(Transaction transaction,
                      Transaction::Begin(database, Transaction::Kind::kWrite));
  WT_RETURN_IF_ERROR(database.Run(kAddProvider, kProviderTenant, now).status());
  WT_ASSIGN_OR_RETURN(const std::string random, RandomBytes(32));
  WT_RETURN_IF_ERROR(database.Run(kAddSecret, Bytes{random}).status());
  std::string secret;
  {
    WT_ASSIGN_OR_RETURN(Statement row, database.Query(kGetSecret));
    WT_RETURN_IF_ERROR(row.Step().status());
    secret = row.Text();
  }
  WT_RETURN_IF_ERROR(transaction.Commit());
  return secret;
}

absl::StatusOr<std::string> ReadBootId(FileSystem& files) {
  // A file of the kernel has no size, so it is read as a range. A UUID has 36 characters.
  WT_ASSIGN_OR_RETURN(std::string id, files.ReadRange("/proc/sys/kernel/random/boot_id", 0, 36));
  return id;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SqliteStore>> SqliteStore::Open(SqliteStoreOptions options,
                                                               Clock& clock, FileSystem& files) {
  if (options.boot_id.empty()) {
    WT_ASSIGN_OR_RETURN(options.boot_id, ReadBootId(files));
  }
  if (options.readers < 1) return absl::InvalidArgumentError("readers: at least 1 is needed");
  WT_ASSIGN_OR_RETURN(std::unique_ptr<ProcessLock> lock,
                      ProcessLock::Acquire(absl::StrCat(options.path, ".lock")));
  WT_ASSIGN_OR_RETURN(std::unique_ptr<Database> writer, Database::Open(options.path));
  WT_RETURN_IF_ERROR(CheckIntegrity(*writer));
  WT_RETURN_IF_ERROR(Migrate(*writer, EmbeddedMigrations(), clock.Now()));
  WT_ASSIGN_OR_RETURN(std::string secret, PrepareFirstStart(*writer, clock.Now()));
  const int readers = options.readers;
  WT_ASSIGN_OR_RETURN(std::unique_ptr<SqliteConnections> connections,
                      SqliteConnections::Create(std::move(writer), readers));
  return std::make_unique<SqliteStoreImpl>(
      SqliteContext{std::move(options), clock, std::move(connections),
                    PageTokens(std::move(secret))},
      std::move(lock));
}

}  // namespace wardtune
