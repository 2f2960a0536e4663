// Safety suites and security vector versions in SQLite.
#ifndef WARDTUNE_STORAGE_SQLITE_SECURITY_VECTOR_STORE_H_
#define WARDTUNE_STORAGE_SQLITE_SECURITY_VECTOR_STORE_H_

#include <cstdint>
#include <string>

#include "storage/sqlite_context.h"

namespace wardtune {

// NOT_FOUND when there is none; so for all that follow.
absl::StatusOr<SafetySuiteRecord> FindSafetySuite(Database& database, const std::string& id);
absl::StatusOr<SecurityVectorRecord> FindSecurityVector(Database& database,
                                                        const std::string& vector, int64_t version);

// Moves of the version whose training job has ended. FAILED_PRECONDITION unless TRAINING.
absl::Status FailSecurityVector(Database& database, const std::string& vector, int64_t version,
                                const std::string& error_message);
absl::Status EvaluateSecurityVector(Database& database, const std::string& vector, int64_t version,
                                    const BlobRef& sealed, const JobResult& result);

class SqliteSecurityVectorStore final : public SecurityVectorStore {
 public:
  explicit SqliteSecurityVectorStore(SqliteContext& context) : context_(context) {}

  absl::StatusOr<Answer> CreateSafetySuite(const SafetySuiteRecord& suite, const RequestKey& key,
                                           Encode<SafetySuiteRecord> encode) override;
  absl::StatusOr<SafetySuiteRecord> GetSafetySuite(const std::string& id) override;
  absl::StatusOr<Page<SafetySuiteRecord>> ListSafetySuites(const PageRequest& page) override;
  absl::StatusOr<Answer> TrainSecurityVector(const NewSecurityVector& request,
                                             const RequestKey& key,
                                             Encode<SecurityVectorRecord> encode) override;
  absl::StatusOr<Answer> CancelTraining(const std::string& vector, int64_t version,
                                        const AuditEntry& audit, const RequestKey& key,
                                        Encode<SecurityVectorRecord> encode) override;
  absl::StatusOr<SecurityVectorRecord> GetSecurityVector(const std::string& vector,
                                                         int64_t version) override;
  absl::StatusOr<Page<SecurityVectorRecord>> ListSecurityVectors(const PageRequest& page) override;
  absl::StatusOr<Answer> ActivateSecurityVector(const std::string& vector, int64_t version,
                                                const AuditEntry& audit, const RequestKey& key,
                                                Encode<SecurityVectorRecord> encode) override;
  absl::StatusOr<Page<SecurityVectorRecord>> ListSealedVectors(const PageRequest& page) override;
  absl::StatusOr<SecurityVectorRecord> ReplaceSealedVector(const std::string& vector,
                                                           int64_t version,
                                                           const std::string& replaced_sha256,
                                                           const BlobRef& sealed,
                                                           const AuditEntry& audit) override;

 private:
  // Inserts the version and its job.
  absl::StatusOr<SecurityVectorRecord> InsertVersion(Database& database,
                                                     const NewSecurityVector& request,
                                                     const std::string& job_id);

  SqliteContext& context_;
};

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_SQLITE_SECURITY_VECTOR_STORE_H_
