#include <memory>
#include <optional>
#include <string>

#include "base/status_macros.h"
#include "server/handlers/fine_tuning_handlers.h"
#include "server/handlers/requests.h"
#include "server/handlers/resource_messages.h"
#include "server/hyperparameters.h"
#include "server/job_estimate.h"
#include "server/resource_names.h"
#include "server/rpc/error_details.h"
#include "server/start_adapter_check.h"
#include "storage/error_reason.h"

namespace wardtune {
namespace {

// A data set that is there, READY and not empty.
absl::StatusOr<DatasetRecord> UsableDataset(HandlerContext& context, const Caller& caller,
                                            const std::string& name) {
  WT_ASSIGN_OR_RETURN(const std::string id, ParseOwnId(caller, kDatasets, name, "dataset"));
  WT_ASSIGN_OR_RETURN(DatasetRecord dataset,
                      Named("data set", context.store.datasets().GetDataset(caller.tenant_id, id)));
  if (dataset.state != DatasetState::kReady) {
    return WithReason(absl::FailedPreconditionError(
                          dataset.state == DatasetState::kUploading
                              ? "the data set is still UPLOADING; finish the upload first"
                              : "the data set is REJECTED; upload a corrected one"),
                      kReasonDatasetNotReady);
  }
  if (dataset.row_count < 1) return InvalidField("dataset", "has no row to learn from");
  return dataset;
}

absl::StatusOr<BaseModelRecord> UsableModel(HandlerContext& context, const std::string& name) {
  WT_ASSIGN_OR_RETURN(const std::string id, ParseBaseModelName(name, "base_model"));
  absl::StatusOr<BaseModelRecord> model = context.store.models().GetBaseModel(id);
  if (absl::IsNotFound(model.status())) {
    return InvalidField("base_model", "is not on offer; ListBaseModels names those that are");
  }
  WT_RETURN_IF_ERROR(model.status());
  if (model->active_vector.empty()) {
    return WithReason(
        absl::FailedPreconditionError("the base model has no active security vector, and no job "
                                      "runs without one; the provider must activate one"),
        kReasonNoSecurityVector);
  }
  return model;
}

// The adapter that the job is to go on from, if any, as far as its name tells.
absl::StatusOr<std::optional<AdapterRecord>> FindStart(HandlerContext& context,
                                                       const Caller& caller,
                                                       const std::string& name) {
  if (name.empty()) return std::nullopt;
  WT_ASSIGN_OR_RETURN(const std::string id, ParseOwnId(caller, kAdapters, name, "start_adapter"));
  WT_ASSIGN_OR_RETURN(AdapterRecord start,
                      Named("adapter", context.store.jobs().GetAdapter(caller.tenant_id, id)));
  return start;
}

// Every field set; LoRA's are those of the start adapter.
absl::StatusOr<v1::Hyperparameters> Resolve(HandlerContext& context,
                                            const v1::Hyperparameters& requested,
                                            const std::optional<AdapterRecord>& start,
                                            const BaseModelRecord& model) {
  if (!start.has_value()) {
    return ResolveHyperparameters(requested, model.context_length, context.limits);
  }
  WT_RETURN_IF_ERROR(CheckStartAdapter(*start, model, context.limits));
  WT_ASSIGN_OR_RETURN(const v1::Hyperparameters taken_over, WithLoraOf(*start, requested));
  return ResolveHyperparameters(taken_over, model.context_length, context.limits);
}

// Not a quota: the same call passes once another of the tenant's has ended.
absl::StatusOr<std::unique_ptr<TenantSlots::Slot>> AcquireEstimateSlot(HandlerContext& context,
                                                                       const Caller& caller) {
  auto slot = context.estimate_slots.Acquire(caller.tenant_id, "");
  if (slot.ok()) return slot;
  return RetryAfter(WithReason(absl::UnavailableError("other jobs of yours are being estimated"),
                               "ESTIMATES_BUSY"),
                    absl::Seconds(1));
}

absl::StatusOr<NewJob> CheckRequest(HandlerContext& context, const Caller& caller,
                                    const v1::CreateFineTuningJobRequest& request) {
  WT_RETURN_IF_ERROR(CheckDisplayName(request.display_name(), "display_name"));
  // Names first, so that a bad hyperparameter does not tell whether a data set exists.
  WT_ASSIGN_OR_RETURN(const DatasetRecord dataset,
                      UsableDataset(context, caller, request.dataset()));
  WT_ASSIGN_OR_RETURN(const std::optional<AdapterRecord> start,
                      FindStart(context, caller, request.start_adapter()));
  WT_ASSIGN_OR_RETURN(const BaseModelRecord model, UsableModel(context, request.base_model()));
  WT_ASSIGN_OR_RETURN(const v1::Hyperparameters hyperparameters,
                      Resolve(context, request.hyperparameters(), start, model));
  WT_ASSIGN_OR_RETURN(const auto slot, AcquireEstimateSlot(context, caller));
  WT_ASSIGN_OR_RETURN(const Tokenizer* const tokenizer, context.models.GetTokenizer(model.id));
  WT_ASSIGN_OR_RETURN(v1::JobEstimate estimate,
                      EstimateJob(context.blobs, dataset.sha256, dataset.received_bytes, *tokenizer,
                                  hyperparameters, context.limits.max_estimate_bytes));
  WT_ASSIGN_OR_RETURN(const SafetyPolicyRecord policy, context.store.safety().GetSafetyPolicy(0));
  estimate.set_row_scan(ToMessage(policy).row_scan().action());
  NewJob job;
  job.tenant = caller.tenant_id;
  job.display_name = request.display_name();
  job.dataset_id = dataset.id;
  job.base_model = model.id;
  job.spec = hyperparameters.SerializeAsString();
  job.estimate = estimate.SerializeAsString();
  if (start.has_value()) {
    job.start_adapter_id = start->id;
    job.start_tensors_sha256 = TensorsDigestOf(*start);
  }
  return job;
}

}  // namespace

absl::StatusOr<v1::CreateFineTuningJobResponse> CreateFineTuningJob(
    HandlerContext& context, const Caller& caller, const v1::CreateFineTuningJobRequest& request) {
  WT_RETURN_IF_ERROR(CheckRequestId(request.request_id()));
  const RequestKey key =
      MakeRequestKey(caller, "CreateFineTuningJob", request.request_id(), request);
  if (!request.validate_only() && !key.request_id.empty()) {
    // A retry is answered as the first time, whatever became of the data set since.
    WT_ASSIGN_OR_RETURN(const auto remembered, context.store.maintenance().FindAnswer(key));
    if (remembered.has_value()) {
      return ParseAnswer<v1::CreateFineTuningJobResponse>(Answer{*remembered, true});
    }
  }
  WT_ASSIGN_OR_RETURN(const NewJob job, CheckRequest(context, caller, request));
  if (request.validate_only()) {
    WT_ASSIGN_OR_RETURN(const JobRecord record, context.store.jobs().CheckJob(job));
    v1::CreateFineTuningJobResponse response;
    *response.mutable_job() = ToMessage(record);
    return response;
  }
  WT_ASSIGN_OR_RETURN(const Answer answer,
                      context.store.jobs().CreateJob(job, key, [](const JobRecord& record) {
                        v1::CreateFineTuningJobResponse response;
                        *response.mutable_job() = ToMessage(record);
                        return response.SerializeAsString();
                      }));
  return ParseAnswer<v1::CreateFineTuningJobResponse>(answer);
}

}  // namespace wardtune
