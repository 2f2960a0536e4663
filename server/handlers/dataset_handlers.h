// DatasetService but for the upload, which is upload_dataset_call.h.
// Thread safety: re-entrant functions; see handler_context.h.
#ifndef WARDTUNE_SERVER_HANDLERS_DATASET_HANDLERS_H_
#define WARDTUNE_SERVER_HANDLERS_DATASET_HANDLERS_H_

#include "absl/status/statusor.h"
#include "server/handlers/handler_context.h"
#include "server/rpc/caller.h"
#include "wardtune/v1/dataset_service.pb.h"

namespace wardtune {

absl::StatusOr<v1::CreateDatasetResponse> CreateDataset(HandlerContext& context,
                                                        const Caller& caller,
                                                        const v1::CreateDatasetRequest& request);
absl::StatusOr<v1::GetDatasetResponse> GetDataset(HandlerContext& context, const Caller& caller,
                                                  const v1::GetDatasetRequest& request);
absl::StatusOr<v1::ListDatasetsResponse> ListDatasets(HandlerContext& context, const Caller& caller,
                                                      const v1::ListDatasetsRequest& request);
absl::StatusOr<v1::DeleteDatasetResponse> DeleteDataset(HandlerContext& context,
                                                        const Caller& caller,
                                                        const v1::DeleteDatasetRequest& request);
absl::StatusOr<v1::GetValidationReportResponse> GetValidationReport(
    HandlerContext& context, const Caller& caller, const v1::GetValidationReportRequest& request);

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_HANDLERS_DATASET_HANDLERS_H_
