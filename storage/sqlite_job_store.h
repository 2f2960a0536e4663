// Fine-tuning jobs and adapters in SQLite, as their tenant sees them.
#ifndef WARDTUNE_STORAGE_SQLITE_JOB_STORE_H_
#define WARDTUNE_STORAGE_SQLITE_JOB_STORE_H_

#include <optional>
#include <string>
#include <vector>

#include "storage/sqlite_context.h"

namespace wardtune {

// NOT_FOUND when the tenant has no such adapter.
absl::StatusOr<AdapterRecord> FindAdapter(Database& database, const std::string& tenant,
                                          const std::string& id);

// NOT_FOUND when the tenant has no such fine-tuning job.
absl::StatusOr<JobRecord> FindTenantJob(Database& database, const std::string& tenant,
                                        const std::string& id);

class SqliteJobStore final : public JobStore {
 public:
  explicit SqliteJobStore(SqliteContext& context) : context_(context) {}

  absl::StatusOr<Answer> CreateJob(const NewJob& job, const RequestKey& key,
                                   Encode<JobRecord> encode) override;
  absl::StatusOr<JobRecord> CheckJob(const NewJob& job) override;
  absl::StatusOr<JobRecord> GetJob(const std::string& tenant, const std::string& id) override;
  absl::StatusOr<Page<JobRecord>> ListJobs(const std::string& tenant, std::optional<JobState> state,
                                           const PageRequest& page) override;
  absl::StatusOr<Answer> CancelJob(const std::string& tenant, const std::string& id,
                                   const RequestKey& key, Encode<JobRecord> encode) override;
  absl::StatusOr<std::vector<JobEventRecord>> ListJobEvents(const std::string& tenant,
                                                            const std::string& id,
                                                            int64_t after_sequence,
                                                            int32_t limit) override;
  absl::StatusOr<AdapterRecord> GetAdapter(const std::string& tenant,
                                           const std::string& id) override;
  absl::StatusOr<Page<AdapterRecord>> ListAdapters(const std::string& tenant,
                                                   const PageRequest& page) override;

 private:
  // The job that may be queued, with everything that it pins.
  struct Admitted {
    JobRecord job;
    BlobRef dataset;
  };
  absl::StatusOr<Admitted> Admit(Database& database, const NewJob& request);
  absl::Status CheckQuota(Database& database, const std::string& tenant);

  SqliteContext& context_;
};

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_SQLITE_JOB_STORE_H_
