#include "storage/sqlite_maintenance_store.h"

namespace wardtune {
namespace {

// Inputs of jobs that have ended may go; the jobs' own digests stay.
constexpr char kReferencedBlobs[] =
    "SELECT sha256 FROM dataset WHERE state = 2"
    " UNION SELECT prompts_sha256 FROM safety_suite"
    " UNION SELECT rules_sha256 FROM safety_suite"
    " UNION SELECT general_sha256 FROM safety_suite WHERE general_sha256 <> ''"
    " UNION SELECT judge_sha256 FROM safety_suite WHERE judge_sha256 <> ''"
    " UNION SELECT sealed_sha256 FROM security_vector WHERE sealed_sha256 <> ''"
    " UNION SELECT vector_sealed_sha256 FROM job WHERE state IN (2, 3)"
    " AND vector_sealed_sha256 <> ''"
    " UNION SELECT dataset_sha256 FROM job WHERE state IN (1, 2, 3)"
    " UNION SELECT general_sha256 FROM job WHERE state IN (1, 2, 3) AND general_sha256 <> ''"
    " UNION SELECT start_sha256 FROM job WHERE state IN (1, 2, 3) AND start_sha256 <> ''"
    " UNION SELECT checkpoint_sha256 FROM job WHERE checkpoint_sha256 <> ''"
    " UNION SELECT sha256 FROM artifact"
    " UNION SELECT sha256 FROM adapter";
constexpr char kUploading[] = "SELECT id FROM dataset WHERE state = 1";

}  // namespace

absl::StatusOr<std::optional<std::string>> SqliteMaintenanceStore::FindAnswer(
    const RequestKey& key) {
  return ReadWith<std::optional<std::string>>(
      context_, [&](Database& database) { return wardtune::FindAnswer(database, key); });
}

absl::Status SqliteMaintenanceStore::ForgetAnswers(absl::Duration age) {
  return context_.connections->Write([&](Database& database) {
    return ForgetAnswersBefore(database, context_.clock.Now() - age);
  });
}

absl::StatusOr<std::set<std::string>> SqliteMaintenanceStore::ReadStrings(const char* sql) {
  return ReadWith<std::set<std::string>>(
      context_, [&](Database& database) -> absl::StatusOr<std::set<std::string>> {
        WT_ASSIGN_OR_RETURN(Statement row, database.Query(sql));
        std::set<std::string> values;
        while (true) {
          WT_ASSIGN_OR_RETURN(const bool more, row.Step());
          if (!more) return values;
          values.insert(row.Text());
        }
      });
}

absl::StatusOr<std::set<std::string>> SqliteMaintenanceStore::ReferencedBlobs() {
  return ReadStrings(kReferencedBlobs);
}

absl::StatusOr<std::set<std::string>> SqliteMaintenanceStore::UploadingDatasets() {
  return ReadStrings(kUploading);
}

}  // namespace wardtune
