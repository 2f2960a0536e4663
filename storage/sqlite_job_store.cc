#include "storage/sqlite_job_store.h"

#include "storage/error_reason.h"
#include "storage/job_rows.h"
#include "storage/not_found.h"
#include "storage/random_id.h"
#include "storage/sqlite_dataset_store.h"
#include "storage/sqlite_model_store.h"
#include "storage/sqlite_security_vector_store.h"
#include "storage/sqlite_tenant_store.h"

namespace wardtune {
namespace {

#define ADAPTER_QUERY                                                                          \
  "a.id, a.tenant, a.job_id, a.base_model, a.sha256, a.size, j.safety_before, j.safety_after," \
  " j.proof, a.create_time, a.gate_state, a.gate_verdict, j.base_sha256, j.spec,"              \
  " j.start_adapter_id, j.chain_length FROM adapter a JOIN job j ON j.id = a.job_id"

constexpr char kGetTenantJob[] =
    "SELECT " WARDTUNE_JOB_COLUMNS " FROM job WHERE tenant = ? AND id = ? AND kind = 1";
constexpr char kListJobs[] = "SELECT seq, " WARDTUNE_JOB_COLUMNS
                             " FROM job WHERE tenant = ? AND kind = 1 AND seq < ?"
                             " ORDER BY seq DESC LIMIT ?";
constexpr char kListInState[] = "SELECT seq, " WARDTUNE_JOB_COLUMNS
                                " FROM job WHERE tenant = ? AND kind = 1 AND state = ? AND seq < ?"
                                " ORDER BY seq DESC LIMIT ?";
constexpr char kCountActive[] =
    "SELECT COUNT(*) FROM job WHERE tenant = ? AND state IN (1, 2, 3) AND kind = 1";
constexpr char kListEvents[] =
    "SELECT sequence, time, state, phase, progress, message FROM job_event"
    " WHERE job_id = ? AND sequence > ? ORDER BY sequence LIMIT ?";
constexpr char kGetAdapter[] = "SELECT " ADAPTER_QUERY " WHERE a.tenant = ? AND a.id = ?";
constexpr char kListAdapters[] =
    "SELECT a.seq, " ADAPTER_QUERY " WHERE a.tenant = ? AND a.seq < ? ORDER BY a.seq DESC LIMIT ?";

AdapterRecord ReadAdapter(Statement& row) {
  AdapterRecord adapter;
  adapter.id = row.Text();
  adapter.tenant = row.Text();
  adapter.job_id = row.Text();
  adapter.base_model = row.Text();
  adapter.blob.sha256 = row.Text();
  adapter.blob.size_bytes = row.Int();
  adapter.safety_before = row.Text();
  adapter.safety_after = row.Text();
  adapter.proof = row.Text();
  adapter.create_time = row.Time();
  adapter.gate.state = row.As<GateState>();
  adapter.gate.verdict = row.Text();
  adapter.base_sha256 = row.Text();
  adapter.spec = row.Text();
  adapter.start_adapter_id = row.Text();
  adapter.chain_length = static_cast<int32_t>(row.Int());
  return adapter;
}

}  // namespace

absl::StatusOr<JobRecord> FindTenantJob(Database& database, const std::string& tenant,
                                        const std::string& id) {
  WT_ASSIGN_OR_RETURN(Statement row, database.Query(kGetTenantJob, tenant, id));
  WT_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return NotFound("job", id);
  return ReadJob(row);
}

absl::StatusOr<AdapterRecord> FindAdapter(Database& database, const std::string& tenant,
                                          const std::string& id) {
  WT_ASSIGN_OR_RETURN(Statement row, database.Query(kGetAdapter, tenant, id));
  WT_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return NotFound("adapter", id);
  return ReadAdapter(row);
}

namespace {

// Pins the adapter that the job goes on from.
absl::Status PinStart(Database& database, const NewJob& request, JobRecord& job) {
  if (request.start_adapter_id.empty()) return absl::OkStatus();
  WT_ASSIGN_OR_RETURN(const AdapterRecord start,
                      FindAdapter(database, request.tenant, request.start_adapter_id));
  if (start.gate.state == GateState::kQuarantined) {
    return WithReason(
        absl::FailedPreconditionError("start_adapter: it is quarantined by the safety gate"),
        kReasonAdapterQuarantined);
  }
  if (start.base_model != job.base_model || start.base_sha256 != job.base_sha256) {
    return WithReason(
        absl::FailedPreconditionError(absl::StrCat(
            "start_adapter: it was made on other files than ", job.base_model, " has now")),
        kReasonStartBaseChanged);
  }
  job.start_adapter_id = start.id;
  job.start = start.blob;
  job.start_tensors_sha256 = request.start_tensors_sha256;
  job.chain_length = start.chain_length + 1;
  return absl::OkStatus();
}

}  // namespace

absl::Status SqliteJobStore::CheckQuota(Database& database, const std::string& tenant) {
  WT_ASSIGN_OR_RETURN(const TenantRecord owner, FindTenant(database, tenant));
  const int32_t quota =
      owner.max_active_jobs > 0 ? owner.max_active_jobs : context_.options.default_max_active_jobs;
  WT_ASSIGN_OR_RETURN(Statement row, database.Query(kCountActive, tenant));
  WT_RETURN_IF_ERROR(row.Step().status());
  if (row.Int() < quota) return absl::OkStatus();
  return WithReason(
      absl::ResourceExhaustedError(absl::StrCat(
          quota,
          " jobs are queued or running, which is the quota; wait for one to end, cancel one,"
          " or ask for a larger quota")),
      kReasonActiveJobsQuota);
}

absl::StatusOr<SqliteJobStore::Admitted> SqliteJobStore::Admit(Database& database,
                                                               const NewJob& request) {
  WT_ASSIGN_OR_RETURN(const DatasetRecord dataset,
                      FindReadyDataset(database, request.tenant, request.dataset_id));
  WT_ASSIGN_OR_RETURN(const BaseModelRecord model, FindBaseModel(database, request.base_model));
  if (model.active_vector.empty()) {
    return WithReason(absl::FailedPreconditionError(absl::StrCat(
                          "base_model: ", model.id,
                          " has no active security vector, and no job runs without one; the "
                          "provider must train and activate one")),
                      kReasonNoSecurityVector);
  }
  WT_RETURN_IF_ERROR(CheckQuota(database, request.tenant));
  WT_ASSIGN_OR_RETURN(const SecurityVectorRecord vector,
                      FindSecurityVector(database, model.active_vector, model.active_version));
  Admitted admitted;
  admitted.dataset = {dataset.sha256, dataset.received_bytes};
  JobRecord& job = admitted.job;
  job.tenant = request.tenant;
  job.display_name = request.display_name;
  job.dataset_id = dataset.id;
  job.base_model = model.id;
  job.base_sha256 = model.sha256;
  job.spec = request.spec;
  job.estimate = request.estimate;
  job.vector = vector.vector;
  job.version = vector.version;
  job.safety_suite = vector.safety_suite;
  WT_RETURN_IF_ERROR(PinStart(database, request, job));
  return admitted;
}

absl::StatusOr<Answer> SqliteJobStore::CreateJob(const NewJob& job, const RequestKey& key,
                                                 Encode<JobRecord> encode) {
  WT_ASSIGN_OR_RETURN(const std::string id, RandomId());
  WT_ASSIGN_OR_RETURN(
      Answer answer,
      Mutate<JobRecord>(
          context_, key, encode, [&](Database& database) -> absl::StatusOr<JobRecord> {
            WT_ASSIGN_OR_RETURN(Admitted admitted, Admit(database, job));
            admitted.job.id = id;
            WT_RETURN_IF_ERROR(InsertJob(database, admitted.job, {admitted.dataset, "", {}},
                                         context_.clock.Now()));
            return FindJob(database, id);
          }));
  if (!answer.replayed) context_.JobChanged(id, JobState::kQueued);
  return answer;
}

absl::StatusOr<JobRecord> SqliteJobStore::CheckJob(const NewJob& job) {
  return ReadWith<JobRecord>(context_, [&](Database& database) -> absl::StatusOr<JobRecord> {
    WT_ASSIGN_OR_RETURN(Admitted admitted, Admit(database, job));
    return admitted.job;
  });
}

absl::StatusOr<JobRecord> SqliteJobStore::GetJob(const std::string& tenant, const std::string& id) {
  return ReadWith<JobRecord>(
      context_, [&](Database& database) { return FindTenantJob(database, tenant, id); });
}

absl::StatusOr<Page<JobRecord>> SqliteJobStore::ListJobs(const std::string& tenant,
                                                         std::optional<JobState> state,
                                                         const PageRequest& page) {
  const std::string scope =
      absl::StrCat("jobs/", tenant, "/", state.has_value() ? ToString(*state) : "");
  WT_ASSIGN_OR_RETURN(const PageWindow window, OpenPage(context_, page, scope));
  return ReadWith<Page<JobRecord>>(
      context_, [&](Database& database) -> absl::StatusOr<Page<JobRecord>> {
        WT_ASSIGN_OR_RETURN(
            Statement rows,
            state.has_value()
                ? database.Query(kListInState, tenant, *state, window.before_seq, window.limit + 1)
                : database.Query(kListJobs, tenant, window.before_seq, window.limit + 1));
        return ReadPage<JobRecord>(context_, window, std::move(rows), ReadJob);
      });
}

absl::StatusOr<Answer> SqliteJobStore::CancelJob(const std::string& tenant, const std::string& id,
                                                 const RequestKey& key, Encode<JobRecord> encode) {
  JobState reached = JobState::kCancelling;
  WT_ASSIGN_OR_RETURN(
      Answer answer,
      Mutate<JobRecord>(
          context_, key, encode, [&](Database& database) -> absl::StatusOr<JobRecord> {
            WT_ASSIGN_OR_RETURN(const JobRecord job, FindTenantJob(database, tenant, id));
            WT_ASSIGN_OR_RETURN(JobRecord moved, MoveJob(database, job, JobEvent::kCancel, {},
                                                         context_.clock.Now()));
            reached = moved.state;
            return moved;
          }));
  if (!answer.replayed) context_.JobChanged(id, reached);
  return answer;
}

absl::StatusOr<std::vector<JobEventRecord>> SqliteJobStore::ListJobEvents(const std::string& tenant,
                                                                          const std::string& id,
                                                                          int64_t after_sequence,
                                                                          int32_t limit) {
  return ReadWith<std::vector<JobEventRecord>>(
      context_, [&](Database& database) -> absl::StatusOr<std::vector<JobEventRecord>> {
        WT_RETURN_IF_ERROR(FindTenantJob(database, tenant, id).status());
        WT_ASSIGN_OR_RETURN(Statement row, database.Query(kListEvents, id, after_sequence, limit));
        std::vector<JobEventRecord> events;
        while (true) {
          WT_ASSIGN_OR_RETURN(const bool more, row.Step());
          if (!more) return events;
          JobEventRecord& event = events.emplace_back();
          event.sequence = row.Int();
          event.time = row.Time();
          event.state = row.As<JobState>();
          event.phase = static_cast<int32_t>(row.Int());
          event.progress = row.Text();
          event.message = row.Text();
        }
      });
}

absl::StatusOr<AdapterRecord> SqliteJobStore::GetAdapter(const std::string& tenant,
                                                         const std::string& id) {
  return ReadWith<AdapterRecord>(
      context_, [&](Database& database) { return FindAdapter(database, tenant, id); });
}

absl::StatusOr<Page<AdapterRecord>> SqliteJobStore::ListAdapters(const std::string& tenant,
                                                                 const PageRequest& page) {
  const std::string scope = absl::StrCat("adapters/", tenant);
  WT_ASSIGN_OR_RETURN(const PageWindow window, OpenPage(context_, page, scope));
  return ReadWith<Page<AdapterRecord>>(
      context_, [&](Database& database) -> absl::StatusOr<Page<AdapterRecord>> {
        WT_ASSIGN_OR_RETURN(Statement rows, database.Query(kListAdapters, tenant, window.before_seq,
                                                           window.limit + 1));
        return ReadPage<AdapterRecord>(context_, window, std::move(rows), ReadAdapter);
      });
}

}  // namespace wardtune
