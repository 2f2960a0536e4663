// AdapterService.
// Thread safety: re-entrant functions; see handler_context.h.
#ifndef WARDTUNE_SERVER_HANDLERS_ADAPTER_HANDLERS_H_
#define WARDTUNE_SERVER_HANDLERS_ADAPTER_HANDLERS_H_

#include <memory>

#include "absl/status/statusor.h"
#include "server/handlers/handler_context.h"
#include "server/rpc/caller.h"
#include "server/rpc/stream_reactors.h"
#include "wardtune/v1/adapter_service.pb.h"

namespace wardtune {

absl::StatusOr<v1::GetAdapterResponse> GetAdapter(HandlerContext& context, const Caller& caller,
                                                  const v1::GetAdapterRequest& request);
absl::StatusOr<v1::ListAdaptersResponse> ListAdapters(HandlerContext& context, const Caller& caller,
                                                      const v1::ListAdaptersRequest& request);
absl::StatusOr<std::unique_ptr<SendingCall<v1::DownloadAdapterResponse>>> DownloadAdapter(
    HandlerContext& context, const Caller& caller, const v1::DownloadAdapterRequest& request);

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_HANDLERS_ADAPTER_HANDLERS_H_
