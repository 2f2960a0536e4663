// What must survive, apart from the bytes: tenants, keys, data sets, models, security vectors,
// jobs, leases, adapters and reports. Abstract, so that another database can take SQLite's place.
//
// Every mutation is one transaction and is on disk when it returns OK; on an error nothing of it is
// stored. Every method that takes a tenant sees that tenant's rows alone: a foreign id is answered
// with the same NOT_FOUND and the same text as a missing one.
// Thread safety: all methods may be called from any thread. They block on the disk, so call them
// from an executor, never from a gRPC reactor.
// Errors of all methods: UNAVAILABLE when the database cannot be read or written just now,
// RESOURCE_EXHAUSTED when the disk is full, DATA_LOSS when the database is damaged.
#ifndef WARDTUNE_STORAGE_METADATA_STORE_H_
#define WARDTUNE_STORAGE_METADATA_STORE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/records.h"
#include "storage/store_call.h"
#include "storage/work_queue.h"

namespace wardtune {

class TenantStore {
 public:
  virtual ~TenantStore() = default;

  // Uses id, display_name and the quotas. ALREADY_EXISTS when the id is taken.
  virtual absl::StatusOr<Answer> CreateTenant(const TenantRecord& tenant, const RequestKey& key,
                                              Encode<TenantRecord> encode) = 0;
  virtual absl::StatusOr<TenantRecord> GetTenant(const std::string& id) = 0;
  // Changes what is set, and returns the tenant as it is then. NOT_FOUND when there is none.
  virtual absl::StatusOr<TenantRecord> UpdateTenant(const TenantChange& change) = 0;
  // By id.
  virtual absl::StatusOr<Page<TenantRecord>> ListTenants(const PageRequest& page) = 0;

  // Uses tenant, role, secret_sha256 and display_name; the store picks the id unless one is given.
  // NOT_FOUND when there is no such tenant; ALREADY_EXISTS when the hash or the id is taken.
  virtual absl::StatusOr<ApiKeyRecord> CreateApiKey(const ApiKeyRecord& key) = 0;
  // The key whose secret has this hash, revoked or not. NOT_FOUND when there is none.
  virtual absl::StatusOr<ApiKeyRecord> FindApiKey(const std::string& secret_sha256) = 0;
  // Newest first. NOT_FOUND when there is no such tenant.
  virtual absl::StatusOr<Page<ApiKeyRecord>> ListApiKeys(const std::string& tenant,
                                                         const PageRequest& page) = 0;
  // Revoking twice is OK and keeps the first time.
  virtual absl::StatusOr<ApiKeyRecord> RevokeApiKey(const std::string& tenant,
                                                    const std::string& id) = 0;
};

class DatasetStore {
 public:
  virtual ~DatasetStore() = default;

  // An empty data set, UPLOADING. RESOURCE_EXHAUSTED with kReasonDatasetBytesQuota when the tenant
  // has no byte left, with kReasonDatasetsQuota when it has too many data sets.
  virtual absl::StatusOr<Answer> CreateDataset(const std::string& tenant,
                                               const std::string& display_name,
                                               const RequestKey& key,
                                               Encode<DatasetRecord> encode) = 0;
  virtual absl::StatusOr<DatasetRecord> GetDataset(const std::string& tenant,
                                                   const std::string& id) = 0;
  // Newest first.
  virtual absl::StatusOr<Page<DatasetRecord>> ListDatasets(const std::string& tenant,
                                                           const PageRequest& page) = 0;
  // Notes that `received_bytes` of the partial blob are durable; call it after PartialBlob::Sync().
  // FAILED_PRECONDITION unless UPLOADING; RESOURCE_EXHAUSTED with kReasonDatasetBytesQuota.
  virtual absl::Status RecordReceived(const std::string& tenant, const std::string& id,
                                      int64_t received_bytes) = 0;
  // UPLOADING -> READY with the committed blob. Errors as RecordReceived.
  virtual absl::StatusOr<DatasetRecord> FinishDataset(const std::string& tenant,
                                                      const std::string& id, const BlobRef& blob,
                                                      int64_t row_count,
                                                      const std::string& report) = 0;
  // UPLOADING -> REJECTED, received_bytes 0; only the report is kept.
  virtual absl::StatusOr<DatasetRecord> RejectDataset(const std::string& tenant,
                                                      const std::string& id,
                                                      const std::string& report) = 0;
  // FAILED_PRECONDITION while a job that has not ended uses it; ABORTED when `etag` is given and is
  // not the current one. `encode` gets the row as it was. The blob goes with the next collection.
  virtual absl::StatusOr<Answer> DeleteDataset(const std::string& tenant, const std::string& id,
                                               const std::string& etag, const RequestKey& key,
                                               Encode<DatasetRecord> encode) = 0;
};

class ModelStore {
 public:
  virtual ~ModelStore() = default;

  // Makes these the models on offer; others stay known but are no longer offered. Uses id, sha256
  // and the facts.
  virtual absl::Status OfferBaseModels(const std::vector<BaseModelRecord>& models) = 0;
  virtual absl::StatusOr<BaseModelRecord> GetBaseModel(const std::string& id) = 0;
  // By id.
  virtual absl::StatusOr<Page<BaseModelRecord>> ListBaseModels(const PageRequest& page) = 0;
};

struct NewSecurityVector {
  std::string vector;
  std::string base_model;
  std::string harmful_dataset;  // Of the provider.
  std::string general_dataset;
  std::string safety_suite;
  std::string recipe;        // Bytes, every field set.
  std::string added_vector;  // With added_version: the version to add to; empty: none.
  int64_t added_version = 0;
};

// The provider's own. The caller has checked the role.
class SecurityVectorStore {
 public:
  virtual ~SecurityVectorStore() = default;

  // The blobs must be committed. A suite of this id with the same digests is OK and stays as it
  // was; with others ALREADY_EXISTS.
  virtual absl::StatusOr<Answer> CreateSafetySuite(const SafetySuiteRecord& suite,
                                                   const RequestKey& key,
                                                   Encode<SafetySuiteRecord> encode) = 0;
  virtual absl::StatusOr<SafetySuiteRecord> GetSafetySuite(const std::string& id) = 0;
  // Newest first.
  virtual absl::StatusOr<Page<SafetySuiteRecord>> ListSafetySuites(const PageRequest& page) = 0;

  // A new version, TRAINING, and the job that makes it, QUEUED. NOT_FOUND for a missing model, data
  // set or suite; FAILED_PRECONDITION with kReasonDatasetNotReady.
  virtual absl::StatusOr<Answer> TrainSecurityVector(const NewSecurityVector& request,
                                                     const RequestKey& key,
                                                     Encode<SecurityVectorRecord> encode) = 0;
  // Cancels the job of a version that is TRAINING, with the audit event: the version is FAILED at
  // once where no worker holds the job, else when its worker has stopped. FAILED_PRECONDITION
  // naming the state otherwise.
  virtual absl::StatusOr<Answer> CancelTraining(const std::string& vector, int64_t version,
                                                const AuditEntry& audit, const RequestKey& key,
                                                Encode<SecurityVectorRecord> encode) = 0;
  virtual absl::StatusOr<SecurityVectorRecord> GetSecurityVector(const std::string& vector,
                                                                 int64_t version) = 0;
  // Newest first.
  virtual absl::StatusOr<Page<SecurityVectorRecord>> ListSecurityVectors(
      const PageRequest& page) = 0;
  // Makes it ACTIVE and retires the one that was, in one transaction with the audit event.
  // FAILED_PRECONDITION naming the state unless EVALUATED or RETIRED. The caller has checked the
  // evaluation, which never changes once EVALUATED.
  virtual absl::StatusOr<Answer> ActivateSecurityVector(const std::string& vector, int64_t version,
                                                        const AuditEntry& audit,
                                                        const RequestKey& key,
                                                        Encode<SecurityVectorRecord> encode) = 0;

  // The trained versions, newest first.
  virtual absl::StatusOr<Page<SecurityVectorRecord>> ListSealedVectors(const PageRequest& page) = 0;
  // Puts the committed blob `sealed` in the place of the sealed bytes `replaced_sha256`, with its
  // audit event; nothing else of the version changes. Leases that run keep the bytes that they
  // name. OK, and nothing is written, when `sealed` is there already. NOT_FOUND for a version that
  // is missing or not trained; ABORTED when its sealed bytes are others.
  virtual absl::StatusOr<SecurityVectorRecord> ReplaceSealedVector(
      const std::string& vector, int64_t version, const std::string& replaced_sha256,
      const BlobRef& sealed, const AuditEntry& audit) = 0;
};

struct NewJob {
  std::string tenant;
  std::string display_name;
  std::string dataset_id;
  std::string base_model;
  std::string spec;                  // Bytes, every field set.
  std::string estimate;              // Bytes.
  std::string start_adapter_id;      // The adapter to go on from; empty: the base model.
  std::string start_tensors_sha256;  // As that adapter's proof names it.
};

// Fine-tuning jobs and adapters as their tenant sees them.
class JobStore {
 public:
  virtual ~JobStore() = default;

  // Queues a job and pins the base model's active security vector, and the start adapter's file,
  // which stays until the job has ended. NOT_FOUND for a missing data set, model or adapter;
  // FAILED_PRECONDITION with kReasonDatasetNotReady, kReasonNoSecurityVector,
  // kReasonAdapterQuarantined or kReasonStartBaseChanged; RESOURCE_EXHAUSTED with
  // kReasonActiveJobsQuota. The caller has checked the length of the chain.
  virtual absl::StatusOr<Answer> CreateJob(const NewJob& job, const RequestKey& key,
                                           Encode<JobRecord> encode) = 0;
  // Everything that CreateJob would check, queueing nothing: the job that it would queue, without
  // an id.
  virtual absl::StatusOr<JobRecord> CheckJob(const NewJob& job) = 0;
  virtual absl::StatusOr<JobRecord> GetJob(const std::string& tenant, const std::string& id) = 0;
  // Newest first; only in `state` when given.
  virtual absl::StatusOr<Page<JobRecord>> ListJobs(const std::string& tenant,
                                                   std::optional<JobState> state,
                                                   const PageRequest& page) = 0;
  // QUEUED ends at once; RUNNING becomes CANCELLING, and CANCELLING stays. FAILED_PRECONDITION
  // naming the state when it has ended.
  virtual absl::StatusOr<Answer> CancelJob(const std::string& tenant, const std::string& id,
                                           const RequestKey& key, Encode<JobRecord> encode) = 0;
  // Up to `limit` events after `after_sequence`, in order. Old progress events are thinned out.
  virtual absl::StatusOr<std::vector<JobEventRecord>> ListJobEvents(const std::string& tenant,
                                                                    const std::string& id,
                                                                    int64_t after_sequence,
                                                                    int32_t limit) = 0;

  virtual absl::StatusOr<AdapterRecord> GetAdapter(const std::string& tenant,
                                                   const std::string& id) = 0;
  // Newest first.
  virtual absl::StatusOr<Page<AdapterRecord>> ListAdapters(const std::string& tenant,
                                                           const PageRequest& page) = 0;
};

// The gate between a result and its customer, and the audit trail. The provider's own: the caller
// has checked the role.
class SafetyStore {
 public:
  virtual ~SafetyStore() = default;

  // A new version, in force for every job that ends from now on.
  virtual absl::StatusOr<Answer> SetSafetyPolicy(const std::string& terms, const AuditEntry& audit,
                                                 const RequestKey& key,
                                                 Encode<SafetyPolicyRecord> encode) = 0;
  // Version 0 asks for the one in force. NOT_FOUND when there is no such version.
  virtual absl::StatusOr<SafetyPolicyRecord> GetSafetyPolicy(int64_t version) = 0;
  // QUARANTINED -> RELEASED, with its audit event. FAILED_PRECONDITION unless QUARANTINED.
  virtual absl::StatusOr<Answer> ReleaseAdapter(const std::string& tenant, const std::string& id,
                                                const AuditEntry& audit, const RequestKey& key,
                                                Encode<AdapterRecord> encode) = 0;
  // Newest first. The rows can be added to, never changed or deleted.
  virtual absl::StatusOr<Page<AuditEventRecord>> ListAuditEvents(const PageRequest& page) = 0;
};

struct NewOutputReport {
  std::string tenant;
  std::string adapter_id;  // Or a job: exactly one of the two.
  std::string job_id;
  std::string category;
  std::string prompt;
  std::string output;
  std::string comment;
};

struct ReportResolution {
  OutputReportEvent event = OutputReportEvent::kDismiss;
  std::string category;  // Of kConfirm: the corrected one; empty keeps the tenant's.
  std::string note;      // Not empty.
};

struct ConfirmedReport {
  OutputReportRecord report;
  std::string cursor;  // Stands behind this report.
};

// Reported outputs: first what their tenant may do, then what the provider may, whose role the
// caller has checked.
class OutputReportStore {
 public:
  virtual ~OutputReportStore() = default;

  // A new report, OPEN. NOT_FOUND for a missing adapter or job; FAILED_PRECONDITION for a job that
  // has no adapter; RESOURCE_EXHAUSTED with kReasonOpenReportsQuota.
  virtual absl::StatusOr<Answer> CreateReport(const NewOutputReport& report, const RequestKey& key,
                                              Encode<OutputReportRecord> encode) = 0;
  virtual absl::StatusOr<OutputReportRecord> GetReport(const std::string& tenant,
                                                       const std::string& id) = 0;
  // Newest first.
  virtual absl::StatusOr<Page<OutputReportRecord>> ListReports(const std::string& tenant,
                                                               const PageRequest& page) = 0;

  // Of all tenants, oldest first; only in `state` when given.
  virtual absl::StatusOr<Page<OutputReportRecord>> ListReportsOfAll(
      std::optional<OutputReportState> state, const PageRequest& page) = 0;
  // OPEN -> CONFIRMED or DISMISSED, with its audit event. FAILED_PRECONDITION naming the state when
  // it was resolved before.
  virtual absl::StatusOr<Answer> ResolveReport(const std::string& tenant, const std::string& id,
                                               const ReportResolution& resolution,
                                               const AuditEntry& audit, const RequestKey& key,
                                               Encode<OutputReportRecord> encode) = 0;
  // Writes down that an export begins.
  virtual absl::Status RecordExport(const AuditEntry& audit) = 0;
  // Up to `limit` CONFIRMED reports behind the cursor, in the order in which they were confirmed;
  // an empty cursor stands before the first. INVALID_ARGUMENT for a cursor that was made up.
  virtual absl::StatusOr<std::vector<ConfirmedReport>> ListConfirmed(const std::string& cursor,
                                                                     int32_t limit) = 0;
  // Every state.
  virtual absl::StatusOr<std::map<OutputReportState, int64_t>> CountReports() = 0;
};

// Upkeep.
class MaintenanceStore {
 public:
  virtual ~MaintenanceStore() = default;

  // The remembered answer of a request, before doing anything costly; nullopt when it is new.
  virtual absl::StatusOr<std::optional<std::string>> FindAnswer(const RequestKey& key) = 0;
  // Forgets the answers of requests older than `age`.
  virtual absl::Status ForgetAnswers(absl::Duration age) = 0;
  // Digests of all blobs that a row refers to.
  virtual absl::StatusOr<std::set<std::string>> ReferencedBlobs() = 0;
  // Ids of data sets that are UPLOADING; each is also the id of its partial blob.
  virtual absl::StatusOr<std::set<std::string>> UploadingDatasets() = 0;
};

class AuditStore;  // storage/audit_store.h

// All of it. The references live as long as the store.
class MetadataStore {
 public:
  virtual ~MetadataStore() = default;

  virtual TenantStore& tenants() = 0;
  virtual DatasetStore& datasets() = 0;
  virtual ModelStore& models() = 0;
  virtual SecurityVectorStore& security_vectors() = 0;
  virtual JobStore& jobs() = 0;
  virtual WorkQueue& work() = 0;
  virtual SafetyStore& safety() = 0;
  virtual OutputReportStore& reports() = 0;
  virtual AuditStore& audits() = 0;
  virtual MaintenanceStore& maintenance() = 0;
};

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_METADATA_STORE_H_
