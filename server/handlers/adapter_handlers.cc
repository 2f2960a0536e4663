#include "server/handlers/adapter_handlers.h"

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/handlers/blob_download_call.h"
#include "server/handlers/requests.h"
#include "server/handlers/resource_messages.h"
#include "server/resource_names.h"
#include "server/safety_gate.h"
#include "storage/error_reason.h"

namespace wardtune {
namespace {

absl::StatusOr<AdapterRecord> FindOwnAdapter(HandlerContext& context, const Caller& caller,
                                             const std::string& name) {
  WT_ASSIGN_OR_RETURN(const std::string id, ParseOwnId(caller, kAdapters, name, "name"));
  return Named("adapter", context.store.jobs().GetAdapter(caller.tenant_id, id));
}

}  // namespace

absl::StatusOr<v1::GetAdapterResponse> GetAdapter(HandlerContext& context, const Caller& caller,
                                                  const v1::GetAdapterRequest& request) {
  WT_ASSIGN_OR_RETURN(const AdapterRecord record, FindOwnAdapter(context, caller, request.name()));
  v1::GetAdapterResponse response;
  *response.mutable_adapter() = ToMessage(record);
  return response;
}

absl::StatusOr<v1::ListAdaptersResponse> ListAdapters(HandlerContext& context, const Caller& caller,
                                                      const v1::ListAdaptersRequest& request) {
  WT_ASSIGN_OR_RETURN(const auto page,
                      context.store.jobs().ListAdapters(caller.tenant_id, PageOf(request)));
  v1::ListAdaptersResponse response;
  for (const AdapterRecord& record : page.items) *response.add_adapters() = ToMessage(record);
  response.set_next_page_token(page.next_page_token);
  return response;
}

absl::StatusOr<std::unique_ptr<SendingCall<v1::DownloadAdapterResponse>>> DownloadAdapter(
    HandlerContext& context, const Caller& caller, const v1::DownloadAdapterRequest& request) {
  WT_ASSIGN_OR_RETURN(const AdapterRecord record, FindOwnAdapter(context, caller, request.name()));
  if (record.gate.state == GateState::kQuarantined) {
    return WithReason(absl::FailedPreconditionError(absl::StrCat(
                          "name: the adapter is quarantined by the safety gate (",
                          ShortReason(ToMessage(record).gate()),
                          "); train on other rows, or ask the provider to review and release it")),
                      kReasonAdapterQuarantined);
  }
  return BlobDownloadCall<v1::DownloadAdapterResponse>::Open(context.blobs, record.blob,
                                                             request.offset());
}

}  // namespace wardtune
