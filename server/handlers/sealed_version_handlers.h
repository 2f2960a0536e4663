// The calls by which a worker rotates the key of the security vectors. The server holds no key: of
// the sealed bytes it reads the header alone.
// Thread safety: re-entrant functions; see handler_context.h.
#ifndef WARDTUNE_SERVER_HANDLERS_SEALED_VERSION_HANDLERS_H_
#define WARDTUNE_SERVER_HANDLERS_SEALED_VERSION_HANDLERS_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/handlers/handler_context.h"
#include "server/rpc/caller.h"
#include "server/rpc/stream_reactors.h"
#include "wardtune/v1/worker_service.pb.h"

namespace wardtune {

absl::StatusOr<v1::ListSealedVersionsResponse> ListSealedVersions(
    HandlerContext& context, const Caller& caller, const v1::ListSealedVersionsRequest& request);
absl::StatusOr<std::unique_ptr<SendingCall<v1::FetchSealedVersionResponse>>> FetchSealedVersion(
    HandlerContext& context, const Caller& caller, const v1::FetchSealedVersionRequest& request);

// In replace_sealed_version_call.cc.
absl::StatusOr<std::unique_ptr<
    ReceivingCall<v1::ReplaceSealedVersionRequest, v1::ReplaceSealedVersionResponse>>>
ReplaceSealedVersion(HandlerContext& context, const Caller& caller);

// The trained version that `name` names. Errors: INVALID_ARGUMENT for a name of another form;
// NOT_FOUND for a version that is missing or not trained.
absl::StatusOr<SecurityVectorRecord> FindSealedVersion(HandlerContext& context,
                                                       const std::string& name,
                                                       const std::string& field);
v1::SealedVersion ToSealedVersion(const SecurityVectorRecord& record);
// ABORTED with the reason SEALED_VERSION_CHANGED.
absl::Status SealedVersionChanged();

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_HANDLERS_SEALED_VERSION_HANDLERS_H_
