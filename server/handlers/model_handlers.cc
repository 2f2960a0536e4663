#include "server/handlers/model_handlers.h"

#include "base/status_macros.h"
#include "server/handlers/requests.h"
#include "server/handlers/resource_messages.h"
#include "server/resource_names.h"

namespace wardtune {

absl::StatusOr<v1::GetBaseModelResponse> GetBaseModel(HandlerContext& context, const Caller&,
                                                      const v1::GetBaseModelRequest& request) {
  WT_ASSIGN_OR_RETURN(const std::string id, ParseBaseModelName(request.name(), "name"));
  WT_ASSIGN_OR_RETURN(const BaseModelRecord model,
                      Named("base model", context.store.models().GetBaseModel(id)));
  v1::GetBaseModelResponse response;
  *response.mutable_base_model() = ToMessage(model);
  return response;
}

absl::StatusOr<v1::ListBaseModelsResponse> ListBaseModels(
    HandlerContext& context, const Caller&, const v1::ListBaseModelsRequest& request) {
  WT_ASSIGN_OR_RETURN(const auto page, context.store.models().ListBaseModels(PageOf(request)));
  v1::ListBaseModelsResponse response;
  for (const BaseModelRecord& model : page.items) *response.add_base_models() = ToMessage(model);
  response.set_next_page_token(page.next_page_token);
  return response;
}

}  // namespace wardtune
