#include "server/handlers/dataset_handlers.h"

#include "base/status_macros.h"
#include "server/handlers/requests.h"
#include "server/handlers/resource_messages.h"
#include "server/resource_names.h"

namespace wardtune {
namespace {

constexpr std::string_view kDatasetKind = "data set";

absl::StatusOr<DatasetRecord> FindDataset(HandlerContext& context, const Caller& caller,
                                          const std::string& name) {
  WT_ASSIGN_OR_RETURN(const std::string id, ParseOwnId(caller, kDatasets, name, "name"));
  return Named(kDatasetKind, context.store.datasets().GetDataset(caller.tenant_id, id));
}

}  // namespace

absl::StatusOr<v1::CreateDatasetResponse> CreateDataset(HandlerContext& context,
                                                        const Caller& caller,
                                                        const v1::CreateDatasetRequest& request) {
  WT_RETURN_IF_ERROR(CheckDisplayName(request.display_name(), "display_name"));
  WT_RETURN_IF_ERROR(CheckRequestId(request.request_id()));
  WT_ASSIGN_OR_RETURN(const Answer answer,
                      context.store.datasets().CreateDataset(
                          caller.tenant_id, request.display_name(),
                          MakeRequestKey(caller, "CreateDataset", request.request_id(), request),
                          [](const DatasetRecord& record) {
                            v1::CreateDatasetResponse response;
                            *response.mutable_dataset() = ToMessage(record);
                            return response.SerializeAsString();
                          }));
  return ParseAnswer<v1::CreateDatasetResponse>(answer);
}

absl::StatusOr<v1::GetDatasetResponse> GetDataset(HandlerContext& context, const Caller& caller,
                                                  const v1::GetDatasetRequest& request) {
  WT_ASSIGN_OR_RETURN(const DatasetRecord record, FindDataset(context, caller, request.name()));
  v1::GetDatasetResponse response;
  *response.mutable_dataset() = ToMessage(record);
  return response;
}

absl::StatusOr<v1::ListDatasetsResponse> ListDatasets(HandlerContext& context, const Caller& caller,
                                                      const v1::ListDatasetsRequest& request) {
  WT_ASSIGN_OR_RETURN(const auto page,
                      context.store.datasets().ListDatasets(caller.tenant_id, PageOf(request)));
  v1::ListDatasetsResponse response;
  for (const DatasetRecord& record : page.items) *response.add_datasets() = ToMessage(record);
  response.set_next_page_token(page.next_page_token);
  return response;
}

absl::StatusOr<v1::DeleteDatasetResponse> DeleteDataset(HandlerContext& context,
                                                        const Caller& caller,
                                                        const v1::DeleteDatasetRequest& request) {
  WT_RETURN_IF_ERROR(CheckRequestId(request.request_id()));
  WT_ASSIGN_OR_RETURN(const std::string id, ParseOwnId(caller, kDatasets, request.name(), "name"));
  WT_ASSIGN_OR_RETURN(
      const Answer answer,
      Named(kDatasetKind,
            context.store.datasets().DeleteDataset(
                caller.tenant_id, id, request.etag(),
                MakeRequestKey(caller, "DeleteDataset", request.request_id(), request),
                [](const DatasetRecord&) {
                  return v1::DeleteDatasetResponse().SerializeAsString();
                })));
  // What had come of an unfinished upload; the collector would find it, but much later.
  context.blobs.DiscardPartial(id).IgnoreError();
  return ParseAnswer<v1::DeleteDatasetResponse>(answer);
}

absl::StatusOr<v1::GetValidationReportResponse> GetValidationReport(
    HandlerContext& context, const Caller& caller, const v1::GetValidationReportRequest& request) {
  WT_ASSIGN_OR_RETURN(const DatasetRecord record, FindDataset(context, caller, request.name()));
  v1::GetValidationReportResponse response;
  *response.mutable_report() = ParseStored<v1::ValidationReport>(record.report);
  return response;
}

}  // namespace wardtune
