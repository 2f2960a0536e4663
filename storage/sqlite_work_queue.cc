#include "storage/sqlite_work_queue.h"

#include <algorithm>
#include <utility>

#include "storage/job_rows.h"
#include "storage/lease_rows.h"
#include "storage/sqlite_audit_store.h"
#include "storage/sqlite_safety_store.h"
#include "storage/sqlite_security_vector_store.h"

namespace wardtune {
namespace {

// A stored end that lies further ahead was written before the monotonic clock began anew.
constexpr absl::Duration kLongestLease = absl::Hours(1);

constexpr int32_t kPhasePreparing = 1;

constexpr char kOldestJob[] =
    "SELECT seq, id, create_time FROM job WHERE state = 1 AND kind <> 3 AND base_model = ?"
    " ORDER BY seq LIMIT 1";
constexpr char kOldestAudit[] =
    "SELECT seq, id, create_time FROM job WHERE state = 1 AND kind = 3 AND base_model = ?"
    " ORDER BY seq LIMIT 1";
constexpr char kTake[] =
    "UPDATE job SET state = ?, phase = ?, attempt = attempt + 1, lease_owner = ?,"
    " lease_expires = ?, lease_boot = ?, start_time = COALESCE(start_time, ?),"
    " row_scan_policy ="
    " COALESCE(row_scan_policy, (SELECT COALESCE(MAX(version), 0) FROM safety_policy)),"
    " revision = revision + 1 WHERE id = ? AND state = ? AND attempt = ?";
constexpr char kExtend[] =
    "UPDATE job SET phase = ?, progress = ?, safety_before = ?, lease_expires = ?, lease_boot = ?,"
    " revision = revision + 1 WHERE id = ? AND state IN (2, 3) AND attempt = ?";
constexpr char kPinnedInputs[] =
    "SELECT dataset_sha256, dataset_size, general_sha256, general_size, vector_sealed_sha256,"
    " vector_sealed_size FROM job WHERE id = ?";
constexpr char kPinSealed[] =
    "UPDATE job SET vector_sealed_sha256 = ?, vector_sealed_size = ? WHERE id = ?";
constexpr char kScanPolicy[] =
    "SELECT row_scan_policy FROM job WHERE id = ? AND row_scan_policy IS NOT NULL";
constexpr char kDroppedRows[] = "SELECT rows FROM row_scan_dropped WHERE job_id = ?";
constexpr char kEndedLeases[] =
    "SELECT id FROM job WHERE state IN (2, 3)"
    " AND (lease_boot <> ? OR lease_expires <= ? OR lease_expires > ?)";
constexpr char kExtendAll[] =
    "UPDATE job SET lease_expires = ?1 WHERE state IN (2, 3) AND lease_boot = ?2"
    " AND lease_expires < ?1";
constexpr char kCountByState[] = "SELECT state, COUNT(*) FROM job GROUP BY state";
constexpr char kRunningAudits[] = "SELECT COUNT(*) FROM job WHERE kind = 3 AND state IN (2, 3)";
constexpr char kOldestCreateTime[] =
    "SELECT MIN(create_time) FROM job WHERE state = 1 AND kind <> 3";

absl::StatusOr<std::optional<SafetyPolicyRecord>> FindScanPolicy(Database& database,
                                                                 const std::string& job_id) {
  WT_ASSIGN_OR_RETURN(Statement row, database.Query(kScanPolicy, job_id));
  WT_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return std::nullopt;
  WT_ASSIGN_OR_RETURN(SafetyPolicyRecord policy, FindSafetyPolicy(database, row.Int()));
  return policy;
}

absl::StatusOr<std::string> FindDroppedRows(Database& database, const std::string& job_id) {
  WT_ASSIGN_OR_RETURN(Statement row, database.Query(kDroppedRows, job_id));
  WT_ASSIGN_OR_RETURN(const bool found, row.Step());
  return found ? row.Text() : "";
}

// The version whose sealed bytes an attempt opens: the one that a fine-tuning job trains with, or
// the one that a training adds to, if any. An audit opens none.
absl::StatusOr<std::optional<SecurityVectorRecord>> FindOpenedVersion(Database& database,
                                                                      const JobRecord& job) {
  if (job.kind == JobKind::kAudit) return std::nullopt;
  WT_ASSIGN_OR_RETURN(SecurityVectorRecord version,
                      FindSecurityVector(database, job.vector, job.version));
  if (job.kind == JobKind::kFineTuning) return version;
  if (version.added_vector.empty()) return std::nullopt;
  WT_ASSIGN_OR_RETURN(SecurityVectorRecord added,
                      FindSecurityVector(database, version.added_vector, version.added_version));
  return added;
}

absl::Status PinSealedVector(Database& database, const JobRecord& job) {
  WT_ASSIGN_OR_RETURN(const std::optional<SecurityVectorRecord> opened,
                      FindOpenedVersion(database, job));
  const BlobRef sealed = opened.has_value() ? opened->sealed : BlobRef();
  return database.Run(kPinSealed, sealed.sha256, sealed.size_bytes, job.id).status();
}

absl::StatusOr<LeaseRecord> DescribeLease(Database& database, const JobRecord& job) {
  LeaseRecord lease;
  lease.job = job;
  auto add = [&lease](InputKind kind, const BlobRef& blob) {
    if (!blob.empty()) lease.inputs.push_back({kind, blob});
  };
  {
    WT_ASSIGN_OR_RETURN(Statement row, database.Query(kPinnedInputs, job.id));
    WT_RETURN_IF_ERROR(row.Step().status());
    BlobRef dataset, general, sealed_vector;
    for (BlobRef* blob : {&dataset, &general, &sealed_vector}) {
      blob->sha256 = row.Text();
      blob->size_bytes = row.Int();
    }
    add(InputKind::kDataset, dataset);
    add(InputKind::kGeneralDataset, general);
    add(InputKind::kSecurityVector, sealed_vector);
  }
  WT_ASSIGN_OR_RETURN(const std::optional<SecurityVectorRecord> opened,
                      FindOpenedVersion(database, job));
  if (opened.has_value()) lease.vector_plain_sha256 = opened->plain_sha256;
  if (job.kind == JobKind::kFineTuning) {
    lease.vector_card = opened->card;
    lease.vector_parts = opened->parts;
    WT_ASSIGN_OR_RETURN(lease.scan_policy, FindScanPolicy(database, job.id));
  }
  WT_ASSIGN_OR_RETURN(const SafetySuiteRecord suite, FindSafetySuite(database, job.safety_suite));
  lease.suite_facts = suite.facts;
  add(InputKind::kSuitePrompts, suite.prompts);
  add(InputKind::kSuiteRules, suite.rules);
  add(InputKind::kSuiteGeneralPrompts, suite.general_prompts);
  add(InputKind::kCheckpoint, job.checkpoint);
  add(InputKind::kJudgeAdapter, suite.judge);
  if (job.kind == JobKind::kAudit) {
    WT_ASSIGN_OR_RETURN(lease.audited_adapter, FindAuditedAdapter(database, job.audited_adapter));
    add(InputKind::kAdapter, lease.audited_adapter->blob);
  }
  add(InputKind::kStartAdapter, job.start);
  return lease;
}

struct QueuedJob {
  int64_t seq;
  std::string id;
  absl::Time create_time;
};

absl::StatusOr<std::optional<QueuedJob>> FindOldest(Database& database, const char* sql,
                                                    const std::vector<std::string>& base_models) {
  std::optional<QueuedJob> oldest;
  for (const std::string& model : base_models) {
    WT_ASSIGN_OR_RETURN(Statement row, database.Query(sql, model));
    WT_ASSIGN_OR_RETURN(const bool found, row.Step());
    if (!found) continue;
    const int64_t seq = row.Int();
    if (oldest.has_value() && seq >= oldest->seq) continue;
    std::string id = row.Text();
    oldest = {seq, std::move(id), row.Time()};
  }
  return oldest;
}

// Customers' jobs and trainings come before audits, but one that was created more than `patience`
// after an audit waits for it: so that a queue that never empties starves no audit.
absl::StatusOr<std::optional<std::string>> FindNext(Database& database,
                                                    const std::vector<std::string>& base_models,
                                                    absl::Duration patience) {
  WT_ASSIGN_OR_RETURN(const auto job, FindOldest(database, kOldestJob, base_models));
  WT_ASSIGN_OR_RETURN(const auto audit, FindOldest(database, kOldestAudit, base_models));
  const bool audit_first =
      audit.has_value() && (!job.has_value() || job->create_time > audit->create_time + patience);
  if (audit_first) return audit->id;
  if (job.has_value()) return job->id;
  return std::nullopt;
}

}  // namespace

void SqliteWorkQueue::WorkerSeen(const std::string& worker_id) {
  const absl::Duration now = context_.clock.Monotonic();
  absl::MutexLock lock(&mutex_);
  workers_[worker_id] = now;
}

int64_t SqliteWorkQueue::MonotonicMicros() const {
  return absl::ToInt64Microseconds(context_.clock.Monotonic());
}

absl::StatusOr<int64_t> SqliteWorkQueue::LeaseEnd(absl::Duration ttl) const {
  if (ttl <= absl::ZeroDuration() || ttl > kLongestLease) {
    return absl::InvalidArgumentError(
        absl::StrCat("lease of ", absl::FormatDuration(ttl), " is not above 0 and at most 1h"));
  }
  return MonotonicMicros() + absl::ToInt64Microseconds(ttl);
}

absl::StatusOr<std::optional<LeaseRecord>> SqliteWorkQueue::LeaseNext(
    const std::string& worker_id, const std::vector<std::string>& base_models, absl::Duration ttl) {
  WorkerSeen(worker_id);
  WT_ASSIGN_OR_RETURN(const int64_t expires, LeaseEnd(ttl));
  // Looks without writing first: a poll that finds nothing costs no disk write.
  WT_ASSIGN_OR_RETURN(const std::optional<std::string> candidate,
                      ReadWith<std::optional<std::string>>(context_, [&](Database& database) {
                        return FindNext(database, base_models, context_.options.audit_patience);
                      }));
  if (!candidate.has_value()) return std::nullopt;
  WT_ASSIGN_OR_RETURN(
      std::optional<LeaseRecord> lease,
      WriteWith<std::optional<LeaseRecord>>(
          context_, [&](Database& database) -> absl::StatusOr<std::optional<LeaseRecord>> {
            // Another worker may have been faster.
            WT_ASSIGN_OR_RETURN(const std::optional<std::string> oldest,
                                FindNext(database, base_models, context_.options.audit_patience));
            if (!oldest.has_value()) return std::nullopt;
            return LeaseJob(database, *oldest, worker_id, expires);
          }));
  if (lease.has_value()) context_.JobChanged(lease->job.id, lease->job.state);
  return lease;
}

absl::StatusOr<std::optional<LeaseRecord>> SqliteWorkQueue::LeaseJob(Database& database,
                                                                     const std::string& job_id,
                                                                     const std::string& worker_id,
                                                                     int64_t expires) {
  WT_ASSIGN_OR_RETURN(const JobRecord queued, FindJob(database, job_id));
  WT_ASSIGN_OR_RETURN(const JobState next, Next(queued.state, JobEvent::kLease));
  const absl::Time now = context_.clock.Now();
  WT_ASSIGN_OR_RETURN(const int64_t updated, database.Run(kTake, next, kPhasePreparing, worker_id,
                                                          expires, context_.options.boot_id, now,
                                                          job_id, queued.state, queued.attempt));
  if (updated != 1) return absl::InternalError("a queued job changed within its transaction");
  WT_RETURN_IF_ERROR(
      AppendEvent(database, job_id, now, next, kPhasePreparing, "",
                  absl::StrCat("attempt ", queued.attempt + 1, " began on worker ", worker_id)));
  WT_ASSIGN_OR_RETURN(const JobRecord leased, FindJob(database, job_id));
  WT_RETURN_IF_ERROR(PinSealedVector(database, leased));
  WT_ASSIGN_OR_RETURN(LeaseRecord lease, DescribeLease(database, leased));
  WT_ASSIGN_OR_RETURN(lease.scan_dropped, FindDroppedRows(database, job_id));
  return lease;
}

absl::StatusOr<LeaseRecord> SqliteWorkQueue::GetLease(const std::string& job_id, int32_t attempt) {
  return ReadWith<LeaseRecord>(context_, [&](Database& database) -> absl::StatusOr<LeaseRecord> {
    WT_ASSIGN_OR_RETURN(const JobRecord job, FindLeased(database, job_id, attempt));
    return DescribeLease(database, job);
  });
}

absl::StatusOr<JobRecord> SqliteWorkQueue::Heartbeat(const std::string& job_id, int32_t attempt,
                                                     absl::Duration ttl,
                                                     const HeartbeatReport& report) {
  WT_ASSIGN_OR_RETURN(const int64_t expires, LeaseEnd(ttl));
  WT_ASSIGN_OR_RETURN(
      JobRecord job,
      WriteWith<JobRecord>(context_, [&](Database& database) -> absl::StatusOr<JobRecord> {
        WT_ASSIGN_OR_RETURN(const JobRecord before, FindLeased(database, job_id, attempt));
        const std::string& progress = report.progress.empty() ? before.progress : report.progress;
        const std::string& safety =
            report.safety_before.empty() ? before.safety_before : report.safety_before;
        WT_RETURN_IF_ERROR(
            RequireOneRow(database.Run(kExtend, report.phase, Bytes{progress}, Bytes{safety},
                                       expires, context_.options.boot_id, job_id, attempt),
                          job_id, attempt));
        WT_RETURN_IF_ERROR(RecordRowScan(database, before, report.row_scan));
        if (report.phase != before.phase || progress != before.progress) {
          WT_RETURN_IF_ERROR(AppendEvent(database, job_id, context_.clock.Now(), before.state,
                                         report.phase, progress,
                                         report.phase != before.phase ? "phase changed" : ""));
        }
        return FindJob(database, job_id);
      }));
  WorkerSeen(job.lease_owner);
  context_.JobChanged(job_id, job.state);
  return job;
}

absl::StatusOr<std::vector<JobRecord>> SqliteWorkQueue::ExpireLeases() {
  auto find_ended = [&](Database& database) -> absl::StatusOr<std::vector<std::string>> {
    const int64_t now = MonotonicMicros();
    WT_ASSIGN_OR_RETURN(Statement row,
                        database.Query(kEndedLeases, context_.options.boot_id, now,
                                       now + absl::ToInt64Microseconds(kLongestLease)));
    std::vector<std::string> ids;
    while (true) {
      WT_ASSIGN_OR_RETURN(const bool more, row.Step());
      if (!more) return ids;
      ids.push_back(row.Text());
    }
  };
  // Looks without writing first, as it is called every second.
  WT_ASSIGN_OR_RETURN(const std::vector<std::string> candidates,
                      ReadWith<std::vector<std::string>>(context_, find_ended));
  std::vector<JobRecord> moved;
  if (candidates.empty()) return moved;
  WT_RETURN_IF_ERROR(context_.connections->Write([&](Database& database) -> absl::Status {
    WT_ASSIGN_OR_RETURN(const std::vector<std::string> ids, find_ended(database));
    for (const std::string& id : ids) {
      WT_ASSIGN_OR_RETURN(const JobRecord job, FindJob(database, id));
      WT_ASSIGN_OR_RETURN(JobRecord next, EndAttempt(database, job, true, "LEASE_EXPIRED",
                                                     "no heartbeat came from the worker in time"));
      moved.push_back(std::move(next));
    }
    return absl::OkStatus();
  }));
  for (const JobRecord& job : moved) context_.JobChanged(job.id, job.state);
  return moved;
}

absl::Status SqliteWorkQueue::ExtendLeases(absl::Duration ttl) {
  WT_ASSIGN_OR_RETURN(const int64_t expires, LeaseEnd(ttl));
  return context_.connections->Write([&](Database& database) {
    return database.Run(kExtendAll, expires, context_.options.boot_id).status();
  });
}

absl::StatusOr<QueueStats> SqliteWorkQueue::GetQueueStats() {
  QueueStats stats;
  for (const JobState state : kAllJobStates) stats.jobs[state] = 0;
  const absl::Status read = context_.connections->Read([&](Database& database) -> absl::Status {
    WT_ASSIGN_OR_RETURN(Statement row, database.Query(kCountByState));
    while (true) {
      WT_ASSIGN_OR_RETURN(const bool more, row.Step());
      if (!more) break;
      const JobState state = row.As<JobState>();
      stats.jobs[state] = row.Int();
    }
    WT_ASSIGN_OR_RETURN(Statement audits, database.Query(kRunningAudits));
    WT_RETURN_IF_ERROR(audits.Step().status());
    stats.running_audits = audits.Int();
    WT_ASSIGN_OR_RETURN(Statement oldest, database.Query(kOldestCreateTime));
    WT_RETURN_IF_ERROR(oldest.Step().status());
    const absl::Time created = oldest.Time();
    if (created != absl::InfinitePast()) {
      stats.oldest_queued = std::max(absl::ZeroDuration(), context_.clock.Now() - created);
    }
    return absl::OkStatus();
  });
  WT_RETURN_IF_ERROR(read);
  const absl::Duration now = context_.clock.Monotonic();
  absl::MutexLock lock(&mutex_);
  for (auto it = workers_.begin(); it != workers_.end();) {
    it = now - it->second > context_.options.worker_alive_for ? workers_.erase(it) : std::next(it);
  }
  stats.alive_workers = static_cast<int64_t>(workers_.size());
  return stats;
}

}  // namespace wardtune
