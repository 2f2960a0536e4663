#include "server/handlers/sealed_version_handlers.h"

#include "base/status_macros.h"
#include "server/handlers/blob_download_call.h"
#include "server/handlers/requests.h"
#include "server/resource_names.h"
#include "storage/error_reason.h"

namespace wardtune {
namespace {

constexpr std::string_view kSealedKind = "trained security vector version";

}  // namespace

v1::SealedVersion ToSealedVersion(const SecurityVectorRecord& record) {
  v1::SealedVersion message;
  message.set_name(SecurityVectorName(record.vector, record.version));
  message.set_sha256(record.sealed.sha256);
  message.set_size_bytes(record.sealed.size_bytes);
  return message;
}

absl::Status SealedVersionChanged() {
  return WithReason(
      absl::AbortedError("the version's sealed bytes are no longer those named; list them again"),
      "SEALED_VERSION_CHANGED");
}

absl::StatusOr<SecurityVectorRecord> FindSealedVersion(HandlerContext& context,
                                                       const std::string& name,
                                                       const std::string& field) {
  WT_ASSIGN_OR_RETURN(const VectorVersion parsed, ParseSecurityVectorName(name, field));
  WT_ASSIGN_OR_RETURN(SecurityVectorRecord record,
                      Named(kSealedKind, context.store.security_vectors().GetSecurityVector(
                                             parsed.vector, parsed.version)));
  if (record.sealed.empty()) return ResourceNotFound(kSealedKind);
  return record;
}

absl::StatusOr<v1::ListSealedVersionsResponse> ListSealedVersions(
    HandlerContext& context, const Caller&, const v1::ListSealedVersionsRequest& request) {
  WT_ASSIGN_OR_RETURN(const auto page,
                      context.store.security_vectors().ListSealedVectors(PageOf(request)));
  v1::ListSealedVersionsResponse response;
  for (const SecurityVectorRecord& record : page.items) {
    *response.add_versions() = ToSealedVersion(record);
  }
  response.set_next_page_token(page.next_page_token);
  return response;
}

absl::StatusOr<std::unique_ptr<SendingCall<v1::FetchSealedVersionResponse>>> FetchSealedVersion(
    HandlerContext& context, const Caller&, const v1::FetchSealedVersionRequest& request) {
  WT_ASSIGN_OR_RETURN(const SecurityVectorRecord record,
                      FindSealedVersion(context, request.name(), "name"));
  if (!IsSha256Hex(request.sha256())) {
    return InvalidField("sha256", "must be 64 lower-case hexadecimal characters");
  }
  if (request.sha256() != record.sealed.sha256) return SealedVersionChanged();
  return BlobDownloadCall<v1::FetchSealedVersionResponse>::Open(context.blobs, record.sealed,
                                                                request.offset());
}

}  // namespace wardtune
