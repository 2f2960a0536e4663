// ModelService.
// Thread safety: re-entrant functions; see handler_context.h.
#ifndef WARDTUNE_SERVER_HANDLERS_MODEL_HANDLERS_H_
#define WARDTUNE_SERVER_HANDLERS_MODEL_HANDLERS_H_

#include "absl/status/statusor.h"
#include "server/handlers/handler_context.h"
#include "server/rpc/caller.h"
#include "wardtune/v1/model_service.pb.h"

namespace wardtune {

absl::StatusOr<v1::GetBaseModelResponse> GetBaseModel(HandlerContext& context, const Caller& caller,
                                                      const v1::GetBaseModelRequest& request);
absl::StatusOr<v1::ListBaseModelsResponse> ListBaseModels(HandlerContext& context,
                                                          const Caller& caller,
                                                          const v1::ListBaseModelsRequest& request);

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_HANDLERS_MODEL_HANDLERS_H_
