#include "storage/sqlite_output_report_store.h"

#include "storage/error_reason.h"
#include "storage/not_found.h"
#include "storage/random_id.h"
#include "storage/sqlite_job_store.h"
#include "storage/sqlite_safety_store.h"

namespace wardtune {
namespace {

#define REPORT_QUERY                                                                      \
  "r.id, r.tenant, r.adapter_id, a.job_id, a.base_model, r.category, r.prompt, r.output," \
  " r.comment, r.state, r.confirmed_category, r.note, r.create_time, r.resolve_time"      \
  " FROM output_report r JOIN adapter a ON a.id = r.adapter_id"

constexpr char kAddReport[] =
    "INSERT INTO output_report (id, tenant, adapter_id, category, prompt, output, comment,"
    " create_time) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
constexpr char kGetReport[] = "SELECT " REPORT_QUERY " WHERE r.tenant = ? AND r.id = ?";
constexpr char kListReports[] =
    "SELECT r.seq, " REPORT_QUERY " WHERE r.tenant = ? AND r.seq < ? ORDER BY r.seq DESC LIMIT ?";
constexpr char kListAllReports[] =
    "SELECT r.seq, " REPORT_QUERY " WHERE r.seq > ? ORDER BY r.seq LIMIT ?";
constexpr char kListReportsInState[] =
    "SELECT r.seq, " REPORT_QUERY " WHERE r.state = ? AND r.seq > ? ORDER BY r.seq LIMIT ?";
constexpr char kCountOpenReports[] =
    "SELECT COUNT(*) FROM output_report WHERE tenant = ? AND state = 1";
constexpr char kResolveReport[] =
    "UPDATE output_report SET state = ?, confirmed_category = ?, note = ?, resolve_time = ?,"
    " resolved_seq = (SELECT COALESCE(MAX(resolved_seq), 0) + 1 FROM output_report)"
    " WHERE tenant = ? AND id = ? AND state = ?";
constexpr char kListConfirmed[] =
    "SELECT r.resolved_seq, " REPORT_QUERY
    " WHERE r.state = 2 AND r.resolved_seq > ? ORDER BY r.resolved_seq LIMIT ?";
constexpr char kCountReports[] = "SELECT state, COUNT(*) FROM output_report GROUP BY state";

// What cursors of an export are bound to.
constexpr std::string_view kExportScope = "output-report-export";

OutputReportRecord ReadReport(Statement& row) {
  OutputReportRecord report;
  report.id = row.Text();
  report.tenant = row.Text();
  report.adapter_id = row.Text();
  report.job_id = row.Text();
  report.base_model = row.Text();
  report.category = row.Text();
  report.prompt = row.Text();
  report.output = row.Text();
  report.comment = row.Text();
  report.state = row.As<OutputReportState>();
  report.confirmed_category = row.Text();
  report.note = row.Text();
  report.create_time = row.Time();
  report.resolve_time = row.Time();
  return report;
}

absl::StatusOr<OutputReportRecord> FindReport(Database& database, const std::string& tenant,
                                              const std::string& id) {
  WT_ASSIGN_OR_RETURN(Statement row, database.Query(kGetReport, tenant, id));
  WT_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return NotFound("report", id);
  return ReadReport(row);
}

// The adapter that a new report is about, which must be its tenant's.
absl::StatusOr<std::string> FindReportedAdapter(Database& database, const NewOutputReport& report) {
  if (report.job_id.empty()) {
    WT_ASSIGN_OR_RETURN(const AdapterRecord adapter,
                        FindAdapter(database, report.tenant, report.adapter_id));
    return adapter.id;
  }
  WT_ASSIGN_OR_RETURN(const JobRecord job, FindTenantJob(database, report.tenant, report.job_id));
  if (job.adapter_id.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("job: the job is ", ToString(job.state),
                     " and has no adapter, so nothing of it can have been put out"));
  }
  return job.adapter_id;
}

}  // namespace

absl::Status SqliteOutputReportStore::CheckOpen(Database& database, const std::string& tenant) {
  WT_ASSIGN_OR_RETURN(Statement row, database.Query(kCountOpenReports, tenant));
  WT_RETURN_IF_ERROR(row.Step().status());
  if (row.Int() < context_.options.max_open_reports) return absl::OkStatus();
  return WithReason(absl::ResourceExhaustedError(absl::StrCat(
                        context_.options.max_open_reports,
                        " reports are open, which is the limit; wait until the provider has "
                        "resolved some, or ask the provider to raise it")),
                    kReasonOpenReportsQuota);
}

absl::StatusOr<Answer> SqliteOutputReportStore::CreateReport(const NewOutputReport& report,
                                                             const RequestKey& key,
                                                             Encode<OutputReportRecord> encode) {
  WT_ASSIGN_OR_RETURN(const std::string id, RandomId());
  return Mutate<OutputReportRecord>(
      context_, key, encode, [&](Database& database) -> absl::StatusOr<OutputReportRecord> {
        WT_ASSIGN_OR_RETURN(const std::string adapter, FindReportedAdapter(database, report));
        WT_RETURN_IF_ERROR(CheckOpen(database, report.tenant));
        WT_RETURN_IF_ERROR(database
                               .Run(kAddReport, id, report.tenant, adapter, report.category,
                                    report.prompt, report.output, report.comment,
                                    context_.clock.Now())
                               .status());
        return FindReport(database, report.tenant, id);
      });
}

absl::StatusOr<OutputReportRecord> SqliteOutputReportStore::GetReport(const std::string& tenant,
                                                                      const std::string& id) {
  return ReadWith<OutputReportRecord>(
      context_, [&](Database& database) { return FindReport(database, tenant, id); });
}

absl::StatusOr<Page<OutputReportRecord>> SqliteOutputReportStore::ListReports(
    const std::string& tenant, const PageRequest& page) {
  const std::string scope = absl::StrCat("reports/", tenant);
  WT_ASSIGN_OR_RETURN(const PageWindow window, OpenPage(context_, page, scope));
  return ReadWith<Page<OutputReportRecord>>(
      context_, [&](Database& database) -> absl::StatusOr<Page<OutputReportRecord>> {
        WT_ASSIGN_OR_RETURN(Statement rows, database.Query(kListReports, tenant, window.before_seq,
                                                           window.limit + 1));
        return ReadPage<OutputReportRecord>(context_, window, std::move(rows), ReadReport);
      });
}

absl::StatusOr<Page<OutputReportRecord>> SqliteOutputReportStore::ListReportsOfAll(
    std::optional<OutputReportState> state, const PageRequest& page) {
  const std::string scope = absl::StrCat("triage/", state.has_value() ? ToString(*state) : "");
  WT_ASSIGN_OR_RETURN(const PageWindow window, OpenPage(context_, page, scope));
  int64_t after_seq = 0;
  if (!absl::SimpleAtoi(window.after, &after_seq)) after_seq = 0;
  return ReadWith<Page<OutputReportRecord>>(
      context_, [&](Database& database) -> absl::StatusOr<Page<OutputReportRecord>> {
        WT_ASSIGN_OR_RETURN(
            Statement rows,
            state.has_value()
                ? database.Query(kListReportsInState, *state, after_seq, window.limit + 1)
                : database.Query(kListAllReports, after_seq, window.limit + 1));
        return ReadPage<OutputReportRecord>(context_, window, std::move(rows), ReadReport);
      });
}

absl::StatusOr<Answer> SqliteOutputReportStore::ResolveReport(
    const std::string& tenant, const std::string& id, const ReportResolution& resolution,
    const AuditEntry& audit, const RequestKey& key, Encode<OutputReportRecord> encode) {
  return Mutate<OutputReportRecord>(
      context_, key, encode, [&](Database& database) -> absl::StatusOr<OutputReportRecord> {
        WT_ASSIGN_OR_RETURN(const OutputReportRecord report, FindReport(database, tenant, id));
        WT_ASSIGN_OR_RETURN(const OutputReportState next, Next(report.state, resolution.event));
        std::string category;
        if (next == OutputReportState::kConfirmed) {
          category = resolution.category.empty() ? report.category : resolution.category;
        }
        const absl::Time now = context_.clock.Now();
        WT_RETURN_IF_ERROR(
            database
                .Run(kResolveReport, next, category, resolution.note, now, tenant, id, report.state)
                .status());
        WT_RETURN_IF_ERROR(AppendAuditEvent(database, audit, now));
        return FindReport(database, tenant, id);
      });
}

absl::Status SqliteOutputReportStore::RecordExport(const AuditEntry& audit) {
  return context_.connections->Write(
      [&](Database& database) { return AppendAuditEvent(database, audit, context_.clock.Now()); });
}

absl::StatusOr<std::vector<ConfirmedReport>> SqliteOutputReportStore::ListConfirmed(
    const std::string& cursor, int32_t limit) {
  int64_t after_seq = 0;
  if (!cursor.empty()) {
    const absl::StatusOr<std::string> key = context_.page_tokens.Read(kExportScope, cursor);
    if (!key.ok() || !absl::SimpleAtoi(*key, &after_seq)) {
      return absl::InvalidArgumentError(
          "after: not a cursor that an export returned; export from the first report on with an "
          "empty one");
    }
  }
  return ReadWith<std::vector<ConfirmedReport>>(
      context_, [&](Database& database) -> absl::StatusOr<std::vector<ConfirmedReport>> {
        WT_ASSIGN_OR_RETURN(Statement row, database.Query(kListConfirmed, after_seq, limit));
        std::vector<ConfirmedReport> reports;
        while (true) {
          WT_ASSIGN_OR_RETURN(const bool more, row.Step());
          if (!more) return reports;
          std::string next = context_.page_tokens.Make(kExportScope, row.Text());
          reports.push_back({ReadReport(row), std::move(next)});
        }
      });
}

absl::StatusOr<std::map<OutputReportState, int64_t>> SqliteOutputReportStore::CountReports() {
  return ReadWith<std::map<OutputReportState, int64_t>>(
      context_, [&](Database& database) -> absl::StatusOr<std::map<OutputReportState, int64_t>> {
        std::map<OutputReportState, int64_t> counts;
        for (const OutputReportState state : kAllOutputReportStates) counts[state] = 0;
        WT_ASSIGN_OR_RETURN(Statement row, database.Query(kCountReports));
        while (true) {
          WT_ASSIGN_OR_RETURN(const bool more, row.Step());
          if (!more) return counts;
          const OutputReportState state = row.As<OutputReportState>();
          counts[state] = row.Int();
        }
      });
}

}  // namespace wardtune
