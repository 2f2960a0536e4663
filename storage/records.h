// What the metadata store keeps, as plain structs.
//
// Ids are bare ("a1b2"), never resource names. `bytes` fields are opaque: the server keeps
// serialized messages of the contract in them. Digests are 64 lower-case hexadecimal characters or
// empty. A time that has not come is absl::InfinitePast().
#ifndef WARDTUNE_STORAGE_RECORDS_H_
#define WARDTUNE_STORAGE_RECORDS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "storage/job_state.h"
#include "storage/output_report_state.h"
#include "storage/security_vector_state.h"

namespace wardtune {

// The tenant that owns security vectors, the provider's data sets and the workers' keys. Made when
// the store is opened for the first time.
inline constexpr char kProviderTenant[] = "provider";

struct BlobRef {
  std::string sha256;  // Empty: there is no blob.
  int64_t size_bytes = 0;

  bool empty() const { return sha256.empty(); }
};

struct TenantRecord {
  std::string id;
  std::string display_name;
  int32_t max_active_jobs = 0;    // 0: the store's default.
  int64_t max_dataset_bytes = 0;  // 0: the store's default.
  absl::Time create_time = absl::InfinitePast();
};

// What to change of a tenant; what is not set stays.
struct TenantChange {
  std::string id;
  std::optional<std::string> display_name;
  std::optional<int32_t> max_active_jobs;
  std::optional<int64_t> max_dataset_bytes;
};

// Numbers equal wardtune.v1.Role.
enum class KeyRole { kTenant = 1, kProvider = 2, kWorker = 3 };

struct ApiKeyRecord {
  std::string id;
  std::string tenant;
  KeyRole role = KeyRole::kTenant;
  std::string secret_sha256;
  std::string display_name;
  absl::Time create_time = absl::InfinitePast();
  absl::Time revoke_time = absl::InfinitePast();  // InfinitePast: not revoked.

  bool revoked() const { return revoke_time != absl::InfinitePast(); }
};

// Numbers equal wardtune.v1.Dataset.State.
enum class DatasetState { kUploading = 1, kReady = 2, kRejected = 3 };

struct DatasetRecord {
  std::string id;
  std::string tenant;
  std::string display_name;
  DatasetState state = DatasetState::kUploading;
  int64_t received_bytes = 0;  // Durable bytes of the partial blob, or the size once READY.
  std::string sha256;          // Of the blob; empty until READY.
  int64_t row_count = 0;
  std::string report;  // Bytes: ValidationReport; empty while UPLOADING.
  absl::Time create_time = absl::InfinitePast();
  absl::Time update_time = absl::InfinitePast();
  std::string etag;
};

struct BaseModelRecord {
  std::string id;
  std::string sha256;  // Over the folder's files.
  std::string architecture;
  int64_t parameter_count = 0;
  int32_t context_length = 0;
  // The active security vector; empty and 0 when there is none that fits `sha256`.
  std::string active_vector;
  int64_t active_version = 0;
};

struct SafetySuiteRecord {
  std::string id;
  BlobRef prompts;
  BlobRef rules;
  BlobRef general_prompts;
  BlobRef judge;                  // Tar file of the adapter that judges; may be empty.
  std::string judge_base_model;   // Set iff only jobs of this base model can be scored.
  std::string judge_base_sha256;  // Of the files of that model that the judge was trained on.
  std::string
      facts;  // Bytes: what the server wants to show of it, for example prompts per category.
  absl::Time create_time = absl::InfinitePast();
};

struct SecurityVectorRecord {
  std::string vector;   // securityVectors/{vector}
  int64_t version = 0;  // versions/{version}; from 1, rising by 1 in a vector.
  std::string base_model;
  std::string base_sha256;
  SecurityVectorState state = SecurityVectorState::kTraining;
  std::string recipe;  // Bytes: SecurityVectorRecipe.
  std::string safety_suite;
  std::string added_vector;  // With added_version: what it is added to; empty: nothing.
  int64_t added_version = 0;
  std::string harmful_rows_sha256;
  std::string general_rows_sha256;
  std::string plain_sha256;             // Of the plain weights; set once EVALUATED.
  BlobRef sealed;                       // The encrypted weights; set once EVALUATED.
  std::string card;                     // Bytes: EvaluationCard; set once EVALUATED.
  std::vector<std::string> categories;  // Set once EVALUATED.
  // Bytes: SecurityVectorVersion with nothing but its parts; empty for versions from before there
  // were parts.
  std::string parts;
  std::string job_id;    // The job that trains it; JobKind::kSecurityVector.
  std::string progress;  // Bytes: Progress of that job.
  std::string error_message;
  std::string activated_by;  // Id of the key; set once activated.
  absl::Time activate_time = absl::InfinitePast();
  absl::Time create_time = absl::InfinitePast();
};

// What the gate makes of a result. Numbers equal wardtune.v1.SafetyGate.State.
enum class GateState { kAvailable = 1, kQuarantined = 2, kReleased = 3 };

struct GateRecord {
  GateState state = GateState::kAvailable;
  std::string verdict;  // Bytes: SafetyGate; empty for adapters from before the gate.
};

// What results are judged by. A change makes a new version; none is ever altered.
struct SafetyPolicyRecord {
  int64_t version = 0;  // From 1; 0: none was set, the server's default is in force.
  std::string terms;    // Bytes: SafetyPolicy; empty in version 0.
  std::string created_by;
  absl::Time create_time = absl::InfinitePast();
};

// Who did what to which resource, and why.
struct AuditEntry {
  std::string key_id;
  std::string action;    // For example "release_adapter".
  std::string resource;  // Resource name.
  std::string reason;    // As the caller gave it; empty where none is asked for.
};

struct AuditEventRecord {
  AuditEntry entry;
  absl::Time time = absl::InfinitePast();
};

// What the scan of a job's rows found.
struct RowScanRecord {
  std::string report;   // Bytes: RowScanReport; empty: there is none.
  std::string dropped;  // Bytes: one bit a scanned row; empty when none was dropped.
};

enum class JobKind { kFineTuning = 1, kSecurityVector = 2, kAudit = 3 };

// Where an audit of an adapter is. Numbers equal wardtune.v1.AdapterAudit.State; the last three are
// stored.
enum class AuditState { kQueued = 1, kRunning = 2, kPassed = 3, kDrifted = 4, kFailed = 5 };

// One piece of work: a customer's fine-tuning job, the training of a security vector, or the audit
// of a delivered adapter.
struct JobRecord {
  std::string id;
  std::string tenant;
  JobKind kind = JobKind::kFineTuning;
  std::string display_name;
  std::string dataset_id;  // May name a data set that has been deleted since.
  std::string base_model;
  std::string base_sha256;
  std::string spec;      // Bytes: Hyperparameters or SecurityVectorRecipe.
  std::string estimate;  // Bytes: JobEstimate.
  std::string vector;    // The version to train with, or the one to make; kAudit: unused.
  int64_t version = 0;
  std::string safety_suite;
  std::string audited_adapter;       // kAudit only.
  std::string start_adapter_id;      // The adapter to go on from; empty: the base model.
  BlobRef start;                     // Its tar file.
  std::string start_tensors_sha256;  // As its own proof names it.
  int32_t chain_length = 1;          // Jobs in the chain that this one ends.

  JobState state = JobState::kQueued;
  int32_t phase = 0;           // wardtune.v1.FineTuningJob.Phase
  int64_t queue_position = 0;  // From 1 while QUEUED, else 0.
  int32_t attempt = 0;         // Leases so far: the fencing token of the current one.
  std::string lease_owner;     // Worker id while a lease is held.
  std::string progress;        // Bytes: Progress.
  BlobRef checkpoint;          // The last one uploaded, of any attempt; dropped when the job ends.
  int64_t checkpoint_step = 0;
  int32_t checkpoint_attempt = 0;  // The attempt that uploaded it.
  int64_t furthest_step = 0;       // The most steps that any checkpoint held.
  int32_t failures = 0;            // Attempts that ended since `furthest_step` last rose.

  std::string row_scan;       // Bytes: RowScanReport; set once, whatever becomes of the job.
  std::string safety_before;  // Bytes: SafetyReport.
  std::string safety_start;   // Bytes: SafetyReport of base + start adapter; may be empty.
  std::string safety_after;   // Bytes: SafetyReport.
  std::string proof;          // Bytes: ProtectionProof.
  std::string
      checkpoint_scores;   // Bytes: FineTuningJob with its `checkpoints` alone; may be empty.
  std::string adapter_id;  // Once SUCCEEDED, of a fine-tuning job.
  GateRecord gate;         // Of that adapter.
  std::optional<AuditState> audit_result;  // kAudit only, once it has ended.
  std::string error_code;                  // Once FAILED.
  std::string error_message;
  absl::Time create_time = absl::InfinitePast();
  absl::Time start_time = absl::InfinitePast();
  absl::Time end_time = absl::InfinitePast();
  std::string etag;
};

struct JobEventRecord {
  int64_t sequence = 0;  // From 1, rising within a job.
  absl::Time time = absl::InfinitePast();
  JobState state = JobState::kQueued;
  int32_t phase = 0;
  std::string progress;  // Bytes: Progress; empty when the event reports none.
  std::string message;
};

struct AdapterRecord {
  std::string id;
  std::string tenant;
  std::string job_id;
  std::string base_model;
  BlobRef blob;
  std::string base_sha256;    // Of the job, as all below but for the gate.
  std::string spec;           // Bytes.
  std::string safety_before;  // Bytes.
  std::string safety_after;
  std::string proof;
  std::string start_adapter_id;
  int32_t chain_length = 1;
  GateRecord gate;
  absl::Time create_time = absl::InfinitePast();
};

// A delivered adapter scored again.
struct AdapterAuditRecord {
  std::string id;  // Of its job.
  std::string tenant;
  std::string adapter_id;
  std::string safety_suite;
  AuditState state = AuditState::kQueued;
  int32_t attempt = 0;
  std::string report_base;  // Bytes: SafetyReport, of the base; here and below once it has a score.
  std::string report;       // Bytes: SafetyReport, of base + adapter.
  std::string verdict;      // Bytes: AdapterAudit with the judge's findings and the base's digests.
  std::string error_code;   // Once FAILED.
  std::string error_message;
  absl::Time create_time = absl::InfinitePast();
  absl::Time end_time = absl::InfinitePast();
};

// An output of an adapter that its tenant found harmful.
struct OutputReportRecord {
  std::string id;
  std::string tenant;
  std::string adapter_id;
  std::string job_id;      // That made the adapter.
  std::string base_model;  // Of the adapter.
  std::string category;    // As the tenant sees it.
  std::string prompt;
  std::string output;
  std::string comment;
  OutputReportState state = OutputReportState::kOpen;
  std::string confirmed_category;  // As the provider sees it; once CONFIRMED.
  std::string note;                // Of the provider; set once resolved.
  absl::Time create_time = absl::InfinitePast();
  absl::Time resolve_time = absl::InfinitePast();
};

// Numbers equal wardtune.v1.WorkInput.Kind.
enum class InputKind {
  kDataset = 1,
  kGeneralDataset = 2,
  kSecurityVector = 3,
  kSuitePrompts = 4,
  kSuiteRules = 5,
  kSuiteGeneralPrompts = 6,
  kCheckpoint = 7,
  kJudgeAdapter = 8,
  kAdapter = 9,
  kStartAdapter = 10,
};

struct InputRecord {
  InputKind kind;
  BlobRef blob;
};

// A lease in force: what the worker needs to know to do the job's current attempt.
struct LeaseRecord {
  JobRecord job;                    // job.id names the work, job.attempt fences it.
  std::vector<InputRecord> inputs;  // Sorted by kind.
  std::string suite_facts;          // SafetySuiteRecord.facts of the job's suite.
  // Of the version to train with, or, for kSecurityVector, to add to; empty when that is none.
  std::string vector_plain_sha256;
  std::string vector_card;   // wardtune.v1.EvaluationCard
  std::string vector_parts;  // Of the version to train with, as SecurityVectorRecord has them.
  // The policy by which rows are scanned, as the job's first lease fixed it. None for
  // kSecurityVector, and for a job whose leases are all from before there was a scan.
  std::optional<SafetyPolicyRecord> scan_policy;
  std::string scan_dropped;  // RowScanRecord.dropped of job.row_scan; LeaseNext alone fills it.
  std::optional<AdapterRecord> audited_adapter;  // kAudit only.
};

// Numbers equal wardtune.v1.UploadArtifactRequest.Kind.
enum class ArtifactKind { kCheckpoint = 1, kAdapter = 2, kSecurityVector = 3 };

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_RECORDS_H_
