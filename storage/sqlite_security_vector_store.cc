#include "storage/sqlite_security_vector_store.h"

#include <vector>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "storage/job_rows.h"
#include "storage/not_found.h"
#include "storage/random_id.h"
#include "storage/sqlite_dataset_store.h"
#include "storage/sqlite_model_store.h"
#include "storage/sqlite_safety_store.h"

namespace wardtune {
namespace {

#define SUITE_COLUMNS                                                                         \
  "id, prompts_sha256, prompts_size, rules_sha256, rules_size, general_sha256, general_size," \
  " judge_sha256, judge_size, judge_base_model, judge_base_sha256, facts, create_time"
#define VECTOR_COLUMNS                                                                   \
  "v.vector, v.version, v.base_model, v.base_sha256, v.state, v.recipe, v.safety_suite," \
  " v.harmful_rows_sha256, v.general_rows_sha256, v.plain_sha256, v.sealed_sha256,"      \
  " v.sealed_size, v.card, v.categories, v.job_id, j.progress, v.error_message,"         \
  " v.activated_by, v.activate_time, v.create_time, v.added_vector, v.added_version,"    \
  " v.parts"                                                                             \
  " FROM security_vector v LEFT JOIN job j ON j.id = v.job_id"

constexpr char kInsertSuite[] =
    "INSERT INTO safety_suite (" SUITE_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
constexpr char kGetSuite[] = "SELECT " SUITE_COLUMNS " FROM safety_suite WHERE id = ?";
constexpr char kListSuites[] =
    "SELECT seq, " SUITE_COLUMNS " FROM safety_suite WHERE seq < ? ORDER BY seq DESC LIMIT ?";

constexpr char kNextVersion[] =
    "SELECT COALESCE(MAX(version), 0) + 1 FROM security_vector WHERE vector = ?";
constexpr char kInsertVector[] =
    "INSERT INTO security_vector (vector, version, base_model, base_sha256, state, recipe,"
    " safety_suite, harmful_rows_sha256, general_rows_sha256, plain_sha256, sealed_sha256,"
    " sealed_size, card, categories, job_id, error_message, activated_by, create_time,"
    " added_vector, added_version)"
    " VALUES (?, ?, ?, ?, 1, ?, ?, ?, ?, '', '', 0, x'', '', ?, '', '', ?, ?, ?)";
constexpr char kGetVector[] = "SELECT " VECTOR_COLUMNS " WHERE v.vector = ? AND v.version = ?";
constexpr char kListVectors[] =
    "SELECT v.seq, " VECTOR_COLUMNS " WHERE v.seq < ? ORDER BY v.seq DESC LIMIT ?";
constexpr char kListSealed[] = "SELECT v.seq, " VECTOR_COLUMNS
                               " WHERE v.seq < ? AND v.sealed_sha256 <> '' ORDER BY v.seq DESC"
                               " LIMIT ?";
constexpr char kReplaceSealed[] =
    "UPDATE security_vector SET sealed_sha256 = ?, sealed_size = ?"
    " WHERE vector = ? AND version = ? AND sealed_sha256 = ?";
constexpr char kFailVector[] =
    "UPDATE security_vector SET state = ?, error_message = ?"
    " WHERE vector = ? AND version = ? AND state = ?";
constexpr char kEvaluateVector[] =
    "UPDATE security_vector SET state = ?, plain_sha256 = ?, sealed_sha256 = ?, sealed_size = ?,"
    " card = ?, categories = ?, parts = ? WHERE vector = ? AND version = ? AND state = ?";
constexpr char kRetireActive[] =
    "UPDATE security_vector SET state = ? WHERE base_model = ? AND state = ?";
constexpr char kActivateVector[] =
    "UPDATE security_vector SET state = ?, activated_by = ?, activate_time = ?"
    " WHERE vector = ? AND version = ? AND state = ?";

SafetySuiteRecord ReadSuite(Statement& row) {
  SafetySuiteRecord suite;
  suite.id = row.Text();
  for (BlobRef* blob : {&suite.prompts, &suite.rules, &suite.general_prompts, &suite.judge}) {
    blob->sha256 = row.Text();
    blob->size_bytes = row.Int();
  }
  suite.judge_base_model = row.Text();
  suite.judge_base_sha256 = row.Text();
  suite.facts = row.Text();
  suite.create_time = row.Time();
  return suite;
}

SecurityVectorRecord ReadVector(Statement& row) {
  SecurityVectorRecord record;
  record.vector = row.Text();
  record.version = row.Int();
  record.base_model = row.Text();
  record.base_sha256 = row.Text();
  record.state = row.As<SecurityVectorState>();
  record.recipe = row.Text();
  record.safety_suite = row.Text();
  record.harmful_rows_sha256 = row.Text();
  record.general_rows_sha256 = row.Text();
  record.plain_sha256 = row.Text();
  record.sealed.sha256 = row.Text();
  record.sealed.size_bytes = row.Int();
  record.card = row.Text();
  record.categories = absl::StrSplit(row.Text(), '\n', absl::SkipEmpty());
  record.job_id = row.Text();
  record.progress = row.Text();
  record.error_message = row.Text();
  record.activated_by = row.Text();
  record.activate_time = row.Time();
  record.create_time = row.Time();
  record.added_vector = row.Text();
  record.added_version = row.Int();
  record.parts = row.Text();
  return record;
}

bool SameBytes(const SafetySuiteRecord& a, const SafetySuiteRecord& b) {
  return a.prompts.sha256 == b.prompts.sha256 && a.rules.sha256 == b.rules.sha256 &&
         a.general_prompts.sha256 == b.general_prompts.sha256 && a.judge.sha256 == b.judge.sha256 &&
         a.judge_base_model == b.judge_base_model && a.judge_base_sha256 == b.judge_base_sha256;
}

}  // namespace

absl::StatusOr<SafetySuiteRecord> FindSafetySuite(Database& database, const std::string& id) {
  WT_ASSIGN_OR_RETURN(Statement row, database.Query(kGetSuite, id));
  WT_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return NotFound("safety suite", id);
  return ReadSuite(row);
}

absl::StatusOr<SecurityVectorRecord> FindSecurityVector(Database& database,
                                                        const std::string& vector,
                                                        int64_t version) {
  WT_ASSIGN_OR_RETURN(Statement row, database.Query(kGetVector, vector, version));
  WT_ASSIGN_OR_RETURN(const bool found, row.Step());
  if (!found) return NotFound("security vector version", absl::StrCat(vector, "/", version));
  return ReadVector(row);
}

absl::Status FailSecurityVector(Database& database, const std::string& vector, int64_t version,
                                const std::string& error_message) {
  WT_ASSIGN_OR_RETURN(const SecurityVectorRecord record,
                      FindSecurityVector(database, vector, version));
  WT_ASSIGN_OR_RETURN(const SecurityVectorState next,
                      Next(record.state, SecurityVectorEvent::kFail));
  return database.Run(kFailVector, next, error_message, vector, version, record.state).status();
}

absl::Status EvaluateSecurityVector(Database& database, const std::string& vector, int64_t version,
                                    const BlobRef& sealed, const JobResult& result) {
  WT_ASSIGN_OR_RETURN(const SecurityVectorRecord record,
                      FindSecurityVector(database, vector, version));
  WT_ASSIGN_OR_RETURN(const SecurityVectorState next,
                      Next(record.state, SecurityVectorEvent::kEvaluate));
  return database
      .Run(kEvaluateVector, next, result.plain_sha256, sealed.sha256, sealed.size_bytes,
           Bytes{result.card}, absl::StrJoin(result.categories, "\n"), Bytes{result.parts}, vector,
           version, record.state)
      .status();
}

absl::StatusOr<Answer> SqliteSecurityVectorStore::CreateSafetySuite(
    const SafetySuiteRecord& suite, const RequestKey& key, Encode<SafetySuiteRecord> encode) {
  return Mutate<SafetySuiteRecord>(
      context_, key, encode, [&](Database& database) -> absl::StatusOr<SafetySuiteRecord> {
        absl::StatusOr<SafetySuiteRecord> existing = FindSafetySuite(database, suite.id);
        if (existing.ok() && SameBytes(*existing, suite)) return existing;
        if (existing.ok()) {
          return absl::AlreadyExistsError(
              absl::StrCat("suite_id: ", suite.id, " is taken by other bytes; choose another id"));
        }
        if (!absl::IsNotFound(existing.status())) return existing;
        WT_RETURN_IF_ERROR(
            database
                .Run(kInsertSuite, suite.id, suite.prompts.sha256, suite.prompts.size_bytes,
                     suite.rules.sha256, suite.rules.size_bytes, suite.general_prompts.sha256,
                     suite.general_prompts.size_bytes, suite.judge.sha256, suite.judge.size_bytes,
                     suite.judge_base_model, suite.judge_base_sha256, Bytes{suite.facts},
                     context_.clock.Now())
                .status());
        return FindSafetySuite(database, suite.id);
      });
}

absl::StatusOr<SafetySuiteRecord> SqliteSecurityVectorStore::GetSafetySuite(const std::string& id) {
  return ReadWith<SafetySuiteRecord>(
      context_, [&](Database& database) { return FindSafetySuite(database, id); });
}

absl::StatusOr<Page<SafetySuiteRecord>> SqliteSecurityVectorStore::ListSafetySuites(
    const PageRequest& page) {
  WT_ASSIGN_OR_RETURN(const PageWindow window, OpenPage(context_, page, "suites"));
  return ReadWith<Page<SafetySuiteRecord>>(
      context_, [&](Database& database) -> absl::StatusOr<Page<SafetySuiteRecord>> {
        WT_ASSIGN_OR_RETURN(Statement rows,
                            database.Query(kListSuites, window.before_seq, window.limit + 1));
        return ReadPage<SafetySuiteRecord>(context_, window, std::move(rows), ReadSuite);
      });
}

namespace {

// What a version is added to must be trained, and on the files of the base model that are on offer.
absl::Status CheckAddedTo(Database& database, const NewSecurityVector& request,
                          const BaseModelRecord& model) {
  if (request.added_vector.empty()) return absl::OkStatus();
  WT_ASSIGN_OR_RETURN(const SecurityVectorRecord added,
                      FindSecurityVector(database, request.added_vector, request.added_version));
  if (added.base_model != request.base_model) {
    return absl::FailedPreconditionError(
        absl::StrCat("recipe.added_to: that version is for the base model ", added.base_model));
  }
  if (added.sealed.empty()) {
    return absl::FailedPreconditionError(
        "recipe.added_to: that version is not trained; wait until it is EVALUATED");
  }
  if (added.base_sha256 != model.sha256) {
    return absl::FailedPreconditionError(
        absl::StrCat("recipe.added_to: that version was trained on other files of ", model.id,
                     "; train it anew on the present ones"));
  }
  return absl::OkStatus();
}

// Jobs take only a version that was trained on the files on offer: another would be active, retire
// the one that serves them, and leave them none. A model that is not on offer has no jobs.
absl::Status CheckFilesOnOffer(Database& database, const SecurityVectorRecord& version) {
  const auto model = FindBaseModel(database, version.base_model);
  if (absl::IsNotFound(model.status())) return absl::OkStatus();
  WT_RETURN_IF_ERROR(model.status());
  if (model->sha256 == version.base_sha256) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the version was trained on other files of ", version.base_model,
                   " than those on offer; train one on the present files"));
}

}  // namespace

absl::StatusOr<SecurityVectorRecord> SqliteSecurityVectorStore::InsertVersion(
    Database& database, const NewSecurityVector& request, const std::string& job_id) {
  WT_ASSIGN_OR_RETURN(const BaseModelRecord model, FindBaseModel(database, request.base_model));
  WT_ASSIGN_OR_RETURN(const DatasetRecord harmful,
                      FindReadyDataset(database, kProviderTenant, request.harmful_dataset));
  WT_ASSIGN_OR_RETURN(const DatasetRecord general,
                      FindReadyDataset(database, kProviderTenant, request.general_dataset));
  WT_ASSIGN_OR_RETURN(const SafetySuiteRecord suite,
                      FindSafetySuite(database, request.safety_suite));
  if (!suite.judge_base_model.empty() && suite.judge_base_model != model.id) {
    return absl::FailedPreconditionError(absl::StrCat("safety_suite: its judge is an adapter of ",
                                                      suite.judge_base_model,
                                                      " and cannot judge beside ", model.id));
  }
  if (!suite.judge_base_sha256.empty() && suite.judge_base_sha256 != model.sha256) {
    return absl::FailedPreconditionError(
        absl::StrCat("safety_suite: its judge was trained on other files of ", model.id,
                     "; train a judge on the present ones"));
  }
  WT_RETURN_IF_ERROR(CheckAddedTo(database, request, model));

  JobRecord job;
  job.id = job_id;
  job.tenant = kProviderTenant;
  job.kind = JobKind::kSecurityVector;
  job.dataset_id = harmful.id;
  job.base_model = model.id;
  job.base_sha256 = model.sha256;
  job.spec = request.recipe;
  job.vector = request.vector;
  job.safety_suite = request.safety_suite;
  {
    WT_ASSIGN_OR_RETURN(Statement row, database.Query(kNextVersion, request.vector));
    WT_RETURN_IF_ERROR(row.Step().status());
    job.version = row.Int();
  }
  const absl::Time now = context_.clock.Now();
  WT_RETURN_IF_ERROR(database
                         .Run(kInsertVector, job.vector, job.version, model.id, model.sha256,
                              Bytes{request.recipe}, request.safety_suite, harmful.sha256,
                              general.sha256, job.id, now, request.added_vector,
                              request.added_version)
                         .status());
  const PinnedInputs inputs{{harmful.sha256, harmful.received_bytes},
                            general.id,
                            {general.sha256, general.received_bytes}};
  WT_RETURN_IF_ERROR(InsertJob(database, job, inputs, now));
  return FindSecurityVector(database, job.vector, job.version);
}

absl::StatusOr<Answer> SqliteSecurityVectorStore::TrainSecurityVector(
    const NewSecurityVector& request, const RequestKey& key, Encode<SecurityVectorRecord> encode) {
  WT_ASSIGN_OR_RETURN(const std::string job_id, RandomId());
  WT_ASSIGN_OR_RETURN(Answer answer,
                      Mutate<SecurityVectorRecord>(context_, key, encode, [&](Database& database) {
                        return InsertVersion(database, request, job_id);
                      }));
  if (!answer.replayed) context_.JobChanged(job_id, JobState::kQueued);
  return answer;
}

absl::StatusOr<Answer> SqliteSecurityVectorStore::CancelTraining(
    const std::string& vector, int64_t version, const AuditEntry& audit, const RequestKey& key,
    Encode<SecurityVectorRecord> encode) {
  JobRecord cancelled;
  WT_ASSIGN_OR_RETURN(
      Answer answer,
      Mutate<SecurityVectorRecord>(
          context_, key, encode, [&](Database& database) -> absl::StatusOr<SecurityVectorRecord> {
            WT_ASSIGN_OR_RETURN(const SecurityVectorRecord record,
                                FindSecurityVector(database, vector, version));
            // The job would say its own state and not the version's.
            WT_RETURN_IF_ERROR(Next(record.state, SecurityVectorEvent::kFail).status());
            WT_ASSIGN_OR_RETURN(const JobRecord job, FindJob(database, record.job_id));
            WT_ASSIGN_OR_RETURN(
                cancelled, MoveJob(database, job, JobEvent::kCancel, {}, context_.clock.Now()));
            WT_RETURN_IF_ERROR(AppendAuditEvent(database, audit, context_.clock.Now()));
            return FindSecurityVector(database, vector, version);
          }));
  if (!answer.replayed) context_.JobChanged(cancelled.id, cancelled.state);
  return answer;
}

absl::StatusOr<SecurityVectorRecord> SqliteSecurityVectorStore::GetSecurityVector(
    const std::string& vector, int64_t version) {
  return ReadWith<SecurityVectorRecord>(
      context_, [&](Database& database) { return FindSecurityVector(database, vector, version); });
}

absl::StatusOr<Page<SecurityVectorRecord>> SqliteSecurityVectorStore::ListSecurityVectors(
    const PageRequest& page) {
  WT_ASSIGN_OR_RETURN(const PageWindow window, OpenPage(context_, page, "vectors"));
  return ReadWith<Page<SecurityVectorRecord>>(
      context_, [&](Database& database) -> absl::StatusOr<Page<SecurityVectorRecord>> {
        WT_ASSIGN_OR_RETURN(Statement rows,
                            database.Query(kListVectors, window.before_seq, window.limit + 1));
        return ReadPage<SecurityVectorRecord>(context_, window, std::move(rows), ReadVector);
      });
}

absl::StatusOr<Answer> SqliteSecurityVectorStore::ActivateSecurityVector(
    const std::string& vector, int64_t version, const AuditEntry& audit, const RequestKey& key,
    Encode<SecurityVectorRecord> encode) {
  return Mutate<SecurityVectorRecord>(
      context_, key, encode, [&](Database& database) -> absl::StatusOr<SecurityVectorRecord> {
        WT_ASSIGN_OR_RETURN(const SecurityVectorRecord record,
                            FindSecurityVector(database, vector, version));
        WT_ASSIGN_OR_RETURN(const SecurityVectorState next,
                            Next(record.state, SecurityVectorEvent::kActivate));
        WT_RETURN_IF_ERROR(CheckFilesOnOffer(database, record));
        WT_RETURN_IF_ERROR(database
                               .Run(kRetireActive, SecurityVectorState::kRetired, record.base_model,
                                    SecurityVectorState::kActive)
                               .status());
        WT_RETURN_IF_ERROR(database
                               .Run(kActivateVector, next, audit.key_id, context_.clock.Now(),
                                    vector, version, record.state)
                               .status());
        WT_RETURN_IF_ERROR(AppendAuditEvent(database, audit, context_.clock.Now()));
        return FindSecurityVector(database, vector, version);
      });
}

absl::StatusOr<Page<SecurityVectorRecord>> SqliteSecurityVectorStore::ListSealedVectors(
    const PageRequest& page) {
  WT_ASSIGN_OR_RETURN(const PageWindow window, OpenPage(context_, page, "sealed vectors"));
  return ReadWith<Page<SecurityVectorRecord>>(
      context_, [&](Database& database) -> absl::StatusOr<Page<SecurityVectorRecord>> {
        WT_ASSIGN_OR_RETURN(Statement rows,
                            database.Query(kListSealed, window.before_seq, window.limit + 1));
        return ReadPage<SecurityVectorRecord>(context_, window, std::move(rows), ReadVector);
      });
}

absl::StatusOr<SecurityVectorRecord> SqliteSecurityVectorStore::ReplaceSealedVector(
    const std::string& vector, int64_t version, const std::string& replaced_sha256,
    const BlobRef& sealed, const AuditEntry& audit) {
  return WriteWith<SecurityVectorRecord>(
      context_, [&](Database& database) -> absl::StatusOr<SecurityVectorRecord> {
        WT_ASSIGN_OR_RETURN(const SecurityVectorRecord record,
                            FindSecurityVector(database, vector, version));
        if (record.sealed.empty()) {
          return NotFound("security vector version", absl::StrCat(vector, "/", version));
        }
        if (record.sealed.sha256 == sealed.sha256) return record;
        WT_ASSIGN_OR_RETURN(const int64_t updated,
                            database.Run(kReplaceSealed, sealed.sha256, sealed.size_bytes, vector,
                                         version, replaced_sha256));
        if (updated != 1) {
          return absl::AbortedError("the version's sealed bytes are no longer those named");
        }
        WT_RETURN_IF_ERROR(AppendAuditEvent(database, audit, context_.clock.Now()));
        return FindSecurityVector(database, vector, version);
      });
}

}  // namespace wardtune
