// Reported outputs in SQLite.
#ifndef WARDTUNE_STORAGE_SQLITE_OUTPUT_REPORT_STORE_H_
#define WARDTUNE_STORAGE_SQLITE_OUTPUT_REPORT_STORE_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "storage/sqlite_context.h"

namespace wardtune {

class SqliteOutputReportStore final : public OutputReportStore {
 public:
  explicit SqliteOutputReportStore(SqliteContext& context) : context_(context) {}

  absl::StatusOr<Answer> CreateReport(const NewOutputReport& report, const RequestKey& key,
                                      Encode<OutputReportRecord> encode) override;
  absl::StatusOr<OutputReportRecord> GetReport(const std::string& tenant,
                                               const std::string& id) override;
  absl::StatusOr<Page<OutputReportRecord>> ListReports(const std::string& tenant,
                                                       const PageRequest& page) override;
  absl::StatusOr<Page<OutputReportRecord>> ListReportsOfAll(std::optional<OutputReportState> state,
                                                            const PageRequest& page) override;
  absl::StatusOr<Answer> ResolveReport(const std::string& tenant, const std::string& id,
                                       const ReportResolution& resolution, const AuditEntry& audit,
                                       const RequestKey& key,
                                       Encode<OutputReportRecord> encode) override;
  absl::Status RecordExport(const AuditEntry& audit) override;
  absl::StatusOr<std::vector<ConfirmedReport>> ListConfirmed(const std::string& cursor,
                                                             int32_t limit) override;
  absl::StatusOr<std::map<OutputReportState, int64_t>> CountReports() override;

 private:
  absl::Status CheckOpen(Database& database, const std::string& tenant);

  SqliteContext& context_;
};

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_SQLITE_OUTPUT_REPORT_STORE_H_
