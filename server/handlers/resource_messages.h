// From the store's records to the contract's messages.
// Thread safety: re-entrant functions.
#ifndef WARDTUNE_SERVER_HANDLERS_RESOURCE_MESSAGES_H_
#define WARDTUNE_SERVER_HANDLERS_RESOURCE_MESSAGES_H_

#include <string>

#include "google/protobuf/duration.pb.h"
#include "google/protobuf/timestamp.pb.h"
#include "storage/records.h"
#include "wardtune/v1/adapter_service.pb.h"
#include "wardtune/v1/admin_service.pb.h"
#include "wardtune/v1/dataset_service.pb.h"
#include "wardtune/v1/fine_tuning_service.pb.h"
#include "wardtune/v1/model_service.pb.h"
#include "wardtune/v1/output_report_service.pb.h"
#include "wardtune/v1/security_vector_service.pb.h"

namespace wardtune {

google::protobuf::Timestamp ToTimestamp(absl::Time time);
google::protobuf::Duration ToProtoDuration(absl::Duration duration);

// Bytes that this server wrote into a record; damaged ones give an empty message.
template <typename Message>
Message ParseStored(const std::string& bytes) {
  Message message;
  if (!message.ParseFromString(bytes)) message.Clear();
  return message;
}

v1::Tenant ToMessage(const TenantRecord& record);
v1::ApiKey ToMessage(const ApiKeyRecord& record);
v1::Dataset ToMessage(const DatasetRecord& record);
v1::BaseModel ToMessage(const BaseModelRecord& record);
v1::SafetySuite ToMessage(const SafetySuiteRecord& record);
v1::SecurityVectorVersion ToMessage(const SecurityVectorRecord& record);
v1::SafetyGate ToMessage(const GateRecord& record);
// Version 0 becomes the default policy.
v1::SafetyPolicy ToMessage(const SafetyPolicyRecord& record);
v1::AuditEvent ToMessage(const AuditEventRecord& record);
v1::Adapter ToMessage(const AdapterRecord& record);
// What its job trained.
v1::Hyperparameters::Method MethodOf(const AdapterRecord& record);
// SHA-256 of the adapter's tensors, as its own proof names it.
std::string TensorsDigestOf(const AdapterRecord& record);
v1::AdapterAudit ToMessage(const AdapterAuditRecord& record);
v1::OutputReport ToMessage(const OutputReportRecord& record);
v1::JobEvent ToMessage(const JobEventRecord& record);
// Without `queue.reason` and `queue.estimated_wait`, which need more than the record.
v1::FineTuningJob ToMessage(const JobRecord& record);

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_HANDLERS_RESOURCE_MESSAGES_H_
