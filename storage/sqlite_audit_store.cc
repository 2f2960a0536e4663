#include "storage/sqlite_audit_store.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/job_rows.h"
#include "storage/random_id.h"
#include "storage/sqlite_job_store.h"
#include "storage/sqlite_safety_store.h"

namespace wardtune {
namespace {

// What an audit needs of its adapter. The join leaves out adapters whose base model is not on offer
// as it was when they were trained.
#define AUDITED_QUERY                                                                          \
  "SELECT a.id, a.base_model, j.base_sha256, j.vector, j.version, a.audit_suite, a.audit_time" \
  " FROM adapter a JOIN job j ON j.id = a.job_id JOIN base_model m ON m.id = a.base_model"     \
  " AND m.offered = 1 AND m.sha256 = j.base_sha256"
#define HAS_OPEN_AUDIT                                                        \
  "EXISTS (SELECT 1 FROM job o WHERE o.kind = 3 AND o.audited_adapter = a.id" \
  " AND o.state IN (1, 2, 3))"

constexpr char kAudited[] = AUDITED_QUERY " WHERE a.id = ?";
constexpr char kDue[] = AUDITED_QUERY
    " WHERE a.base_model = ? AND a.audit_suite = ? AND a.gate_state <> 2 AND a.audit_time <= ?"
    " AND NOT " HAS_OPEN_AUDIT " ORDER BY a.audit_time LIMIT ?";
constexpr char kGroups[] =
    "SELECT DISTINCT base_model, audit_suite FROM adapter WHERE gate_state <> 2";
constexpr char kCountOpen[] =
    "SELECT base_model, COUNT(*) FROM job WHERE kind = 3 AND state IN (1, 2, 3) GROUP BY "
    "base_model";
constexpr char kHasOpen[] = "SELECT 1 FROM adapter a WHERE a.id = ? AND " HAS_OPEN_AUDIT;

constexpr char kAddEnded[] =
    "INSERT INTO adapter_audit (job_id, adapter_id, result, attempt, suite_sha256, judge_sha256,"
    " sampling_sha256, report_base, report, result_sha256, verdict, end_time)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
constexpr char kNoteTried[] = "UPDATE adapter SET audit_time = ?, audit_suite = ? WHERE id = ?";
constexpr char kNoteDrift[] = "UPDATE adapter SET drifted_audit = ? WHERE id = ?";
constexpr char kTenantOf[] = "SELECT tenant FROM adapter WHERE id = ?";

#define AUDIT_QUERY                                                                            \
  "j.id, a.tenant, a.id, j.safety_suite, COALESCE(h.result, CASE j.state WHEN 1 THEN 1 ELSE 2" \
  " END), j.attempt, h.report_base, h.report, h.verdict, j.error_code, j.error_message,"       \
  " j.create_time, h.end_time FROM job j JOIN adapter a ON a.id = j.audited_adapter"           \
  " LEFT JOIN adapter_audit h ON h.job_id = j.id"

constexpr char kGetAudit[] = "SELECT " AUDIT_QUERY " WHERE j.kind = 3 AND j.id = ?";
constexpr char kListAudits[] =
    "SELECT j.seq, " AUDIT_QUERY
    " WHERE j.kind = 3 AND j.audited_adapter = ? AND a.tenant = ? AND j.seq < ?"
    " ORDER BY j.seq DESC LIMIT ?";
constexpr char kListAll[] =
    "SELECT j.seq, " AUDIT_QUERY " WHERE j.kind = 3 AND j.seq < ? ORDER BY j.seq DESC LIMIT ?";
constexpr char kListDrifted[] =
    "SELECT j.seq, " AUDIT_QUERY
    " WHERE j.kind = 3 AND j.id = a.drifted_audit AND j.seq < ? ORDER BY j.seq DESC LIMIT ?";
constexpr char kCountDrifted[] = "SELECT COUNT(*) FROM adapter WHERE drifted_audit <> ''";

struct Audited {
  std::string adapter_id;
  std::string base_model;
  std::string base_sha256;
  std::string vector;
  int64_t version = 0;
  std::string suite;  // That it was last scored or tried by; in a plan, that it will be scored by.
  absl::Time time;    // When that was.
};

Audited ReadAudited(Statement& row) {
  Audited audited;
  audited.adapter_id = row.Text();
  audited.base_model = row.Text();
  audited.base_sha256 = row.Text();
  audited.vector = row.Text();
  audited.version = row.Int();
  audited.suite = row.Text();
  audited.time = row.Time();
  return audited;
}

AdapterAuditRecord ReadAudit(Statement& row) {
  AdapterAuditRecord audit;
  audit.id = row.Text();
  audit.tenant = row.Text();
  audit.adapter_id = row.Text();
  audit.safety_suite = row.Text();
  audit.state = row.As<AuditState>();
  audit.attempt = static_cast<int32_t>(row.Int());
  audit.report_base = row.Text();
  audit.report = row.Text();
  audit.verdict = row.Text();
  audit.error_code = row.Text();
  audit.error_message = row.Text();
  audit.create_time = row.Time();
  audit.end_time = row.Time();
  return audit;
}

absl::Status InsertAudit(Database& database, const std::string& id, const Audited& audited,
                         absl::Time now) {
  JobRecord job;
  job.id = id;
  job.tenant = kProviderTenant;
  job.kind = JobKind::kAudit;
  job.base_model = audited.base_model;
  job.base_sha256 = audited.base_sha256;
  job.vector = audited.vector;
  job.version = audited.version;
  job.safety_suite = audited.suite;
  job.audited_adapter = audited.adapter_id;
  return InsertJob(database, job, {}, now);
}

absl::StatusOr<std::map<std::string, int64_t>> CountOpen(Database& database) {
  std::map<std::string, int64_t> open;
  WT_ASSIGN_OR_RETURN(Statement row, database.Query(kCountOpen));
  while (true) {
    WT_ASSIGN_OR_RETURN(const bool more, row.Step());
    if (!more) return open;
    std::string model = row.Text();
    open[std::move(model)] = row.Int();
  }
}

// Base models with the suites that their delivered adapters were last scored or tried by.
absl::StatusOr<std::vector<std::pair<std::string, std::string>>> ListGroups(Database& database) {
  std::vector<std::pair<std::string, std::string>> groups;
  WT_ASSIGN_OR_RETURN(Statement row, database.Query(kGroups));
  while (true) {
    WT_ASSIGN_OR_RETURN(const bool more, row.Step());
    if (!more) return groups;
    std::string model = row.Text();
    groups.emplace_back(std::move(model), row.Text());
  }
}

// What is due now, with the suite to score by: of each base model as many as there is room for,
// those first that were scored or tried the longest ago.
absl::StatusOr<std::vector<Audited>> FindDue(Database& database, const AuditPlan& plan,
                                             const NewestSuite& newest, absl::Time now) {
  WT_ASSIGN_OR_RETURN(auto open, CountOpen(database));
  WT_ASSIGN_OR_RETURN(const auto groups, ListGroups(database));
  std::vector<Audited> due;
  for (const auto& [model, last_suite] : groups) {
    const int64_t room = plan.max_open - open[model];
    if (room <= 0) continue;
    const std::string suite = newest(model, last_suite);
    const absl::Time before = suite == last_suite ? now - plan.interval : now;
    WT_ASSIGN_OR_RETURN(Statement row, database.Query(kDue, model, last_suite, before, room));
    while (true) {
      WT_ASSIGN_OR_RETURN(const bool more, row.Step());
      if (!more) break;
      due.push_back(ReadAudited(row));
      due.back().suite = suite;
    }
  }
  std::sort(due.begin(), due.end(), [](const Audited& a, const Audited& b) {
    return std::tie(a.time, a.adapter_id) < std::tie(b.time, b.adapter_id);
  });
  std::erase_if(due,
                [&](const Audited& audited) { return ++open[audited.base_model] > plan.max_open; });
  return due;
}

// The delivered adapter that a person wants audited.
absl::StatusOr<Audited> FindAuditable(Database& database, const std::string& tenant,
                                      const std::string& adapter_id) {
  WT_ASSIGN_OR_RETURN(const AdapterRecord adapter, FindAdapter(database, tenant, adapter_id));
  if (adapter.gate.state == GateState::kQuarantined) {
    return absl::FailedPreconditionError(
        "name: the adapter is quarantined, so nobody has it; release it before it is audited");
  }
  {
    WT_ASSIGN_OR_RETURN(Statement row, database.Query(kHasOpen, adapter_id));
    WT_ASSIGN_OR_RETURN(const bool open, row.Step());
    if (open) {
      return absl::FailedPreconditionError(
          "name: an audit of the adapter is queued or running already; wait for its end");
    }
  }
  WT_ASSIGN_OR_RETURN(Statement row, database.Query(kAudited, adapter_id));
  WT_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) {
    return absl::FailedPreconditionError(
        absl::StrCat("name: base model ", adapter.base_model,
                     " is no longer on offer with the digest that the adapter was trained on, so "
                     "no worker can score it; offer that model again"));
  }
  return ReadAudited(row);
}

absl::StatusOr<AdapterAuditRecord> FindAudit(Database& database, const std::string& id) {
  WT_ASSIGN_OR_RETURN(Statement row, database.Query(kGetAudit, id));
  WT_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return absl::InternalError(absl::StrCat("audit ", id, " is missing"));
  return ReadAudit(row);
}

}  // namespace

absl::StatusOr<AdapterRecord> FindAuditedAdapter(Database& database, const std::string& id) {
  std::string tenant;
  {
    WT_ASSIGN_OR_RETURN(Statement row, database.Query(kTenantOf, id));
    WT_RETURN_IF_ERROR(row.Step().status());
    tenant = row.Text();
  }
  return FindAdapter(database, tenant, id);
}

absl::Status StoreAuditScore(Database& database, const JobRecord& job, const JobResult& result,
                             absl::Time now) {
  const AuditScore& score = result.audit;
  if (!score.judge) {
    return absl::InvalidArgumentError(
        absl::StrCat("the score of audit ", job.id, " has no judge; no score passes unjudged"));
  }
  WT_ASSIGN_OR_RETURN(const SafetyPolicyRecord policy, CurrentSafetyPolicy(database));
  WT_ASSIGN_OR_RETURN(const AdapterRecord delivered,
                      FindAuditedAdapter(database, job.audited_adapter));
  const AuditScore::Verdict verdict = score.judge(policy, delivered);
  WT_RETURN_IF_ERROR(database
                         .Run(kAddEnded, job.id, job.audited_adapter,
                              verdict.drifted ? AuditState::kDrifted : AuditState::kPassed,
                              job.attempt, score.suite_sha256, score.judge_sha256,
                              score.sampling_sha256, Bytes{score.report_base}, Bytes{score.report},
                              result.artifact_sha256, Bytes{verdict.bytes}, now)
                         .status());
  WT_RETURN_IF_ERROR(
      database.Run(kNoteDrift, verdict.drifted ? job.id : "", job.audited_adapter).status());
  return database.Run(kNoteTried, now, job.safety_suite, job.audited_adapter).status();
}

absl::Status StoreAuditFailure(Database& database, const JobRecord& job, absl::Time now) {
  WT_RETURN_IF_ERROR(database
                         .Run(kAddEnded, job.id, job.audited_adapter, AuditState::kFailed,
                              job.attempt, "", "", "", Bytes{""}, Bytes{""}, "", Bytes{""}, now)
                         .status());
  return database.Run(kNoteTried, now, job.safety_suite, job.audited_adapter).status();
}

absl::StatusOr<std::vector<JobRecord>> SqliteAuditStore::QueueDueAudits(const AuditPlan& plan,
                                                                        const NewestSuite& newest) {
  const absl::Time now = context_.clock.Now();
  // Looks without writing first, as it is called every few seconds.
  WT_ASSIGN_OR_RETURN(const std::vector<Audited> candidates,
                      ReadWith<std::vector<Audited>>(context_, [&](Database& database) {
                        return FindDue(database, plan, newest, now);
                      }));
  if (candidates.empty()) return std::vector<JobRecord>();
  WT_ASSIGN_OR_RETURN(
      std::vector<JobRecord> queued,
      WriteWith<std::vector<JobRecord>>(
          context_, [&](Database& database) -> absl::StatusOr<std::vector<JobRecord>> {
            WT_ASSIGN_OR_RETURN(const std::vector<Audited> due,
                                FindDue(database, plan, newest, now));
            std::vector<JobRecord> jobs;
            for (const Audited& audited : due) {
              WT_ASSIGN_OR_RETURN(const std::string id, RandomId());
              WT_RETURN_IF_ERROR(InsertAudit(database, id, audited, now));
              WT_ASSIGN_OR_RETURN(JobRecord job, FindJob(database, id));
              jobs.push_back(std::move(job));
            }
            return jobs;
          }));
  for (const JobRecord& job : queued) context_.JobChanged(job.id, job.state);
  return queued;
}

absl::StatusOr<Answer> SqliteAuditStore::QueueAudit(const std::string& tenant,
                                                    const std::string& adapter_id, int32_t max_open,
                                                    const NewestSuite& newest,
                                                    const AuditEntry& audit, const RequestKey& key,
                                                    Encode<AdapterAuditRecord> encode) {
  WT_ASSIGN_OR_RETURN(const std::string id, RandomId());
  WT_ASSIGN_OR_RETURN(
      Answer answer,
      Mutate<AdapterAuditRecord>(
          context_, key, encode, [&](Database& database) -> absl::StatusOr<AdapterAuditRecord> {
            WT_ASSIGN_OR_RETURN(Audited audited, FindAuditable(database, tenant, adapter_id));
            WT_ASSIGN_OR_RETURN(auto open, CountOpen(database));
            if (open[audited.base_model] >= max_open) {
              return absl::ResourceExhaustedError(
                  absl::StrCat("name: ", max_open, " audits of base model ", audited.base_model,
                               " are queued or running, as many as the server allows; ask again "
                               "when one ended"));
            }
            audited.suite = newest(audited.base_model, audited.suite);
            const absl::Time now = context_.clock.Now();
            WT_RETURN_IF_ERROR(InsertAudit(database, id, audited, now));
            WT_RETURN_IF_ERROR(AppendAuditEvent(database, audit, now));
            return FindAudit(database, id);
          }));
  if (!answer.replayed) context_.JobChanged(id, JobState::kQueued);
  return answer;
}

absl::StatusOr<Page<AdapterAuditRecord>> SqliteAuditStore::ListAudits(const std::string& tenant,
                                                                      const std::string& adapter_id,
                                                                      const PageRequest& page) {
  const std::string scope = absl::StrCat("audits/", tenant, "/", adapter_id);
  WT_ASSIGN_OR_RETURN(const PageWindow window, OpenPage(context_, page, scope));
  return ReadWith<Page<AdapterAuditRecord>>(
      context_, [&](Database& database) -> absl::StatusOr<Page<AdapterAuditRecord>> {
        WT_RETURN_IF_ERROR(FindAdapter(database, tenant, adapter_id).status());
        WT_ASSIGN_OR_RETURN(Statement rows, database.Query(kListAudits, adapter_id, tenant,
                                                           window.before_seq, window.limit + 1));
        return ReadPage<AdapterAuditRecord>(context_, window, std::move(rows), ReadAudit);
      });
}

absl::StatusOr<Page<AdapterAuditRecord>> SqliteAuditStore::ListAuditsOfAll(
    bool drifted, const PageRequest& page) {
  WT_ASSIGN_OR_RETURN(const PageWindow window,
                      OpenPage(context_, page, drifted ? "drifted-audits" : "all-audits"));
  return ReadWith<Page<AdapterAuditRecord>>(
      context_, [&](Database& database) -> absl::StatusOr<Page<AdapterAuditRecord>> {
        WT_ASSIGN_OR_RETURN(Statement rows, database.Query(drifted ? kListDrifted : kListAll,
                                                           window.before_seq, window.limit + 1));
        return ReadPage<AdapterAuditRecord>(context_, window, std::move(rows), ReadAudit);
      });
}

absl::StatusOr<int64_t> SqliteAuditStore::CountDriftedAdapters() {
  return ReadWith<int64_t>(context_, [&](Database& database) -> absl::StatusOr<int64_t> {
    WT_ASSIGN_OR_RETURN(Statement row, database.Query(kCountDrifted));
    WT_RETURN_IF_ERROR(row.Step().status());
    return row.Int();
  });
}

}  // namespace wardtune
