#include "server/handlers/resource_messages.h"

#include "server/resource_names.h"
#include "server/safety_gate.h"

namespace wardtune {

google::protobuf::Timestamp ToTimestamp(absl::Time time) {
  google::protobuf::Timestamp message;
  const int64_t nanos = absl::ToUnixNanos(time);
  message.set_seconds(nanos / 1'000'000'000);
  message.set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
  return message;
}

google::protobuf::Duration ToProtoDuration(absl::Duration duration) {
  google::protobuf::Duration message;
  const int64_t nanos = absl::ToInt64Nanoseconds(duration);
  message.set_seconds(nanos / 1'000'000'000);
  message.set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
  return message;
}

v1::Tenant ToMessage(const TenantRecord& record) {
  v1::Tenant tenant;
  tenant.set_name(TenantName(record.id));
  tenant.set_display_name(record.display_name);
  tenant.set_max_active_jobs(record.max_active_jobs);
  tenant.set_max_dataset_bytes(record.max_dataset_bytes);
  *tenant.mutable_create_time() = ToTimestamp(record.create_time);
  return tenant;
}

v1::ApiKey ToMessage(const ApiKeyRecord& record) {
  v1::ApiKey key;
  key.set_name(TenantResource(record.tenant, kApiKeys, record.id));
  key.set_role(static_cast<v1::Role>(record.role));
  key.set_display_name(record.display_name);
  *key.mutable_create_time() = ToTimestamp(record.create_time);
  if (record.revoked()) *key.mutable_revoke_time() = ToTimestamp(record.revoke_time);
  return key;
}

v1::Dataset ToMessage(const DatasetRecord& record) {
  v1::Dataset dataset;
  dataset.set_name(TenantResource(record.tenant, kDatasets, record.id));
  dataset.set_display_name(record.display_name);
  dataset.set_state(static_cast<v1::Dataset::State>(record.state));
  dataset.set_received_bytes(record.received_bytes);
  dataset.set_sha256(record.sha256);
  dataset.set_row_count(record.row_count);
  *dataset.mutable_create_time() = ToTimestamp(record.create_time);
  *dataset.mutable_update_time() = ToTimestamp(record.update_time);
  dataset.set_etag(record.etag);
  return dataset;
}

v1::BaseModel ToMessage(const BaseModelRecord& record) {
  v1::BaseModel model;
  model.set_name(BaseModelName(record.id));
  model.set_architecture(record.architecture);
  model.set_parameter_count(record.parameter_count);
  model.set_context_length(record.context_length);
  model.set_sha256(record.sha256);
  if (!record.active_vector.empty()) {
    model.set_security_vector_version(
        SecurityVectorName(record.active_vector, record.active_version));
  }
  return model;
}

v1::SafetySuite ToMessage(const SafetySuiteRecord& record) {
  // `facts` is this very message, with what the record does not hold.
  auto suite = ParseStored<v1::SafetySuite>(record.facts);
  suite.set_name(SafetySuiteName(record.id));
  suite.set_prompts_sha256(record.prompts.sha256);
  suite.set_rules_sha256(record.rules.sha256);
  suite.set_judge_adapter_sha256(record.judge.sha256);
  if (!record.judge_base_model.empty()) {
    suite.set_judge_base_model(BaseModelName(record.judge_base_model));
  }
  *suite.mutable_create_time() = ToTimestamp(record.create_time);
  return suite;
}

namespace {

// A version from before parts were recorded is shown as one part of all its categories.
void SetParts(const SecurityVectorRecord& record, v1::SecurityVectorVersion& version) {
  *version.mutable_parts() = ParseStored<v1::SecurityVectorVersion>(record.parts).parts();
  if (!version.parts().empty()) return;
  v1::SecurityVectorPart& only = *version.add_parts();
  for (const std::string& category : record.categories) {
    if (only.categories_size() == kMaxPartCategories) break;
    only.add_categories(category);
  }
  only.set_more_categories(static_cast<int32_t>(record.categories.size()) - only.categories_size());
}

}  // namespace

v1::SecurityVectorVersion ToMessage(const SecurityVectorRecord& record) {
  v1::SecurityVectorVersion version;
  version.set_name(SecurityVectorName(record.vector, record.version));
  version.set_base_model(BaseModelName(record.base_model));
  version.set_state(static_cast<v1::SecurityVectorVersion::State>(record.state));
  *version.mutable_recipe() = ParseStored<v1::SecurityVectorRecipe>(record.recipe);
  for (const std::string& category : record.categories) version.add_categories(category);
  if (!record.categories.empty()) SetParts(record, version);
  version.set_sha256(record.plain_sha256);
  version.set_base_sha256(record.base_sha256);
  version.set_harmful_rows_sha256(record.harmful_rows_sha256);
  version.set_general_rows_sha256(record.general_rows_sha256);
  if (!record.card.empty()) {
    *version.mutable_card() = ParseStored<v1::EvaluationCard>(record.card);
  }
  if (record.state == SecurityVectorState::kTraining && !record.progress.empty()) {
    *version.mutable_progress() = ParseStored<v1::Progress>(record.progress);
  }
  version.set_error_message(record.error_message);
  version.set_activated_by(record.activated_by);
  if (record.activate_time != absl::InfinitePast()) {
    *version.mutable_activate_time() = ToTimestamp(record.activate_time);
  }
  *version.mutable_create_time() = ToTimestamp(record.create_time);
  return version;
}

v1::SafetyGate ToMessage(const GateRecord& record) {
  auto gate = ParseStored<v1::SafetyGate>(record.verdict);
  gate.set_state(static_cast<v1::SafetyGate::State>(record.state));
  if (record.verdict.empty()) {
    gate.set_reason("made before results were judged; no policy was applied");
  }
  return gate;
}

v1::SafetyPolicy ToMessage(const SafetyPolicyRecord& record) {
  if (record.version == 0) return DefaultSafetyPolicy();
  auto policy = ParseStored<v1::SafetyPolicy>(record.terms);
  policy.set_version(record.version);
  policy.set_created_by(record.created_by);
  return policy;
}

v1::AuditEvent ToMessage(const AuditEventRecord& record) {
  v1::AuditEvent event;
  *event.mutable_time() = ToTimestamp(record.time);
  event.set_key_id(record.entry.key_id);
  event.set_action(record.entry.action);
  event.set_resource(record.entry.resource);
  event.set_reason(record.entry.reason);
  return event;
}

v1::Adapter ToMessage(const AdapterRecord& record) {
  v1::Adapter adapter;
  adapter.set_name(TenantResource(record.tenant, kAdapters, record.id));
  adapter.set_job(TenantResource(record.tenant, kJobs, record.job_id));
  adapter.set_base_model(BaseModelName(record.base_model));
  adapter.set_size_bytes(record.blob.size_bytes);
  adapter.set_sha256(record.blob.sha256);
  *adapter.mutable_safety_before() = ParseStored<v1::SafetyReport>(record.safety_before);
  *adapter.mutable_safety_after() = ParseStored<v1::SafetyReport>(record.safety_after);
  *adapter.mutable_proof() = ParseStored<v1::ProtectionProof>(record.proof);
  *adapter.mutable_gate() = ToMessage(record.gate);
  if (!record.start_adapter_id.empty()) {
    adapter.set_start_adapter(TenantResource(record.tenant, kAdapters, record.start_adapter_id));
  }
  adapter.set_chain_length(record.chain_length);
  adapter.set_method(MethodOf(record));
  *adapter.mutable_create_time() = ToTimestamp(record.create_time);
  return adapter;
}

v1::Hyperparameters::Method MethodOf(const AdapterRecord& record) {
  const auto method = ParseStored<v1::Hyperparameters>(record.spec).method();
  // Jobs from before there was a choice.
  return method == v1::Hyperparameters::METHOD_UNSPECIFIED ? v1::Hyperparameters::METHOD_LORA
                                                           : method;
}

std::string TensorsDigestOf(const AdapterRecord& record) {
  return ParseStored<v1::ProtectionProof>(record.proof).adapter_sha256();
}

v1::AdapterAudit ToMessage(const AdapterAuditRecord& record) {
  // `verdict` is this very message, with what its judge found and what was scored.
  auto audit = ParseStored<v1::AdapterAudit>(record.verdict);
  audit.set_adapter(TenantResource(record.tenant, kAdapters, record.adapter_id));
  audit.set_name(AdapterAuditName(audit.adapter(), record.id));
  audit.set_state(static_cast<v1::AdapterAudit::State>(record.state));
  audit.set_safety_suite(SafetySuiteName(record.safety_suite));
  if (!record.report.empty()) {
    *audit.mutable_safety_base() = ParseStored<v1::SafetyReport>(record.report_base);
    *audit.mutable_safety() = ParseStored<v1::SafetyReport>(record.report);
  }
  audit.set_attempt(record.attempt);
  audit.set_error_code(record.error_code);
  audit.set_error_message(record.error_message);
  *audit.mutable_create_time() = ToTimestamp(record.create_time);
  if (record.end_time != absl::InfinitePast()) {
    *audit.mutable_end_time() = ToTimestamp(record.end_time);
  }
  return audit;
}

v1::OutputReport ToMessage(const OutputReportRecord& record) {
  v1::OutputReport report;
  report.set_name(TenantResource(record.tenant, kOutputReports, record.id));
  report.set_adapter(TenantResource(record.tenant, kAdapters, record.adapter_id));
  report.set_job(TenantResource(record.tenant, kJobs, record.job_id));
  report.set_base_model(BaseModelName(record.base_model));
  report.set_category(record.category);
  report.set_prompt(record.prompt);
  report.set_output(record.output);
  report.set_comment(record.comment);
  report.set_state(static_cast<v1::OutputReport::State>(record.state));
  report.set_confirmed_category(record.confirmed_category);
  report.set_note(record.note);
  *report.mutable_create_time() = ToTimestamp(record.create_time);
  if (record.resolve_time != absl::InfinitePast()) {
    *report.mutable_resolve_time() = ToTimestamp(record.resolve_time);
  }
  return report;
}

v1::JobEvent ToMessage(const JobEventRecord& record) {
  v1::JobEvent event;
  event.set_sequence(record.sequence);
  *event.mutable_time() = ToTimestamp(record.time);
  event.set_state(static_cast<v1::FineTuningJob::State>(record.state));
  event.set_phase(static_cast<v1::FineTuningJob::Phase>(record.phase));
  if (!record.progress.empty()) {
    *event.mutable_progress() = ParseStored<v1::Progress>(record.progress);
  }
  event.set_message(record.message);
  return event;
}

v1::FineTuningJob ToMessage(const JobRecord& record) {
  v1::FineTuningJob job;
  if (!record.id.empty()) job.set_name(TenantResource(record.tenant, kJobs, record.id));
  job.set_display_name(record.display_name);
  job.set_dataset(TenantResource(record.tenant, kDatasets, record.dataset_id));
  job.set_base_model(BaseModelName(record.base_model));
  *job.mutable_hyperparameters() = ParseStored<v1::Hyperparameters>(record.spec);
  job.set_state(static_cast<v1::FineTuningJob::State>(record.state));
  if (HasLease(record.state)) job.set_phase(static_cast<v1::FineTuningJob::Phase>(record.phase));
  if (record.state == JobState::kQueued && !record.id.empty()) {
    job.mutable_queue()->set_position(record.queue_position);
  }
  if (!record.progress.empty()) {
    *job.mutable_progress() = ParseStored<v1::Progress>(record.progress);
  }
  *job.mutable_estimate() = ParseStored<v1::JobEstimate>(record.estimate);
  if (!record.vector.empty()) {
    job.set_security_vector_version(SecurityVectorName(record.vector, record.version));
  }
  if (!record.start_adapter_id.empty()) {
    job.set_start_adapter(TenantResource(record.tenant, kAdapters, record.start_adapter_id));
  }
  job.set_chain_length(record.chain_length);
  if (!record.row_scan.empty()) {
    *job.mutable_row_scan() = ParseStored<v1::RowScanReport>(record.row_scan);
  }
  if (!record.safety_before.empty()) {
    *job.mutable_safety_before() = ParseStored<v1::SafetyReport>(record.safety_before);
  }
  if (!record.safety_start.empty()) {
    *job.mutable_safety_start() = ParseStored<v1::SafetyReport>(record.safety_start);
  }
  if (!record.safety_after.empty()) {
    *job.mutable_safety_after() = ParseStored<v1::SafetyReport>(record.safety_after);
  }
  if (!record.proof.empty()) {
    *job.mutable_proof() = ParseStored<v1::ProtectionProof>(record.proof);
  }
  if (!record.checkpoint_scores.empty()) {
    *job.mutable_checkpoints() =
        ParseStored<v1::FineTuningJob>(record.checkpoint_scores).checkpoints();
  }
  if (!record.adapter_id.empty()) {
    job.set_adapter(TenantResource(record.tenant, kAdapters, record.adapter_id));
    *job.mutable_gate() = ToMessage(record.gate);
  }
  job.set_error_code(record.error_code);
  job.set_error_message(record.error_message);
  job.set_attempt(record.attempt);
  if (record.create_time != absl::InfinitePast()) {
    *job.mutable_create_time() = ToTimestamp(record.create_time);
  }
  if (record.start_time != absl::InfinitePast()) {
    *job.mutable_start_time() = ToTimestamp(record.start_time);
  }
  if (record.end_time != absl::InfinitePast()) {
    *job.mutable_end_time() = ToTimestamp(record.end_time);
  }
  job.set_etag(record.etag);
  return job;
}

}  // namespace wardtune
