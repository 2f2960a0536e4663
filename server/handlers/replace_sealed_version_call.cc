#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "formats/sealed_header.h"
#include "server/handlers/requests.h"
#include "server/handlers/sealed_version_handlers.h"
#include "server/handlers/whole_upload.h"
#include "server/resource_names.h"

namespace wardtune {
namespace {

using ReplaceHeader = v1::ReplaceSealedVersionRequest::Header;

absl::Status CheckReplaceHeader(const ReplaceHeader& header, const ServerLimits& limits) {
  if (!IsSha256Hex(header.replaced_sha256())) {
    return InvalidField("header.replaced_sha256", "must be 64 lower-case hexadecimal characters");
  }
  return WholeUpload::CheckHeader(header.sha256(), header.size_bytes(), limits);
}

class ReplaceSealedVersionCall final
    : public ReceivingCall<v1::ReplaceSealedVersionRequest, v1::ReplaceSealedVersionResponse> {
 public:
  ReplaceSealedVersionCall(HandlerContext& context, Caller caller)
      : context_(context), caller_(std::move(caller)), upload_(context) {}

  absl::Status Consume(const v1::ReplaceSealedVersionRequest& message) override {
    WT_RETURN_IF_ERROR(upload_.CheckOrder(message.has_header()));
    return message.has_header() ? Open(message.header()) : upload_.Append(message.chunk());
  }

  // A repeat whose first answer was lost.
  bool enough() const override { return replaced_before_; }

  absl::StatusOr<v1::ReplaceSealedVersionResponse> Complete(
      const absl::AnyInvocable<bool() const>&) override {
    if (replaced_before_) return ResponseOf(version_);
    WT_ASSIGN_OR_RETURN(const BlobRef blob, upload_.Commit());
    return Replace(blob);
  }

 private:
  absl::Status Open(const ReplaceHeader& header) {
    WT_RETURN_IF_ERROR(CheckReplaceHeader(header, context_.limits));
    WT_ASSIGN_OR_RETURN(version_, FindSealedVersion(context_, header.name(), "header.name"));
    header_ = header;
    replaced_before_ = version_.sealed.sha256 == header.sha256();
    if (replaced_before_) return absl::OkStatus();
    if (version_.sealed.sha256 != header.replaced_sha256()) return SealedVersionChanged();
    return upload_.Open(header.name(),
                        absl::StrCat("reseal-", version_.vector, "-", version_.version),
                        header.sha256(), header.size_bytes());
  }

  absl::StatusOr<SealedHeader> ReadHeader(const BlobRef& blob) {
    WT_ASSIGN_OR_RETURN(const std::string begin,
                        context_.blobs.ReadRange(blob.sha256, 0, kMaxSealedHeaderBytes));
    WT_ASSIGN_OR_RETURN(SealedHeader header, ParseSealedHeader(begin));
    if (static_cast<int64_t>(header.size_bytes() + kSealedTagBytes) > blob.size_bytes) {
      return absl::DataLossError("sealed file: it ends before its tag");
    }
    return header;
  }

  absl::StatusOr<v1::ReplaceSealedVersionResponse> Replace(const BlobRef& blob) {
    const absl::StatusOr<SealedHeader> anew = ReadHeader(blob);
    if (absl::IsDataLoss(anew.status())) {
      return InvalidField("chunk", std::string(anew.status().message()));
    }
    WT_RETURN_IF_ERROR(anew.status());
    WT_ASSIGN_OR_RETURN(const SealedHeader before, ReadHeader(version_.sealed));
    if (anew->context != before.context) {
      return InvalidField("chunk", "the bytes are sealed for something else than this version");
    }
    if (anew->key_id == before.key_id) {
      return InvalidField("chunk", "the bytes are sealed with the key that seals this version now");
    }
    const std::string keys = absl::StrCat("from key ", before.KeyIdHex(), " to ", anew->KeyIdHex());
    const absl::StatusOr<SecurityVectorRecord> replaced =
        context_.store.security_vectors().ReplaceSealedVector(
            version_.vector, version_.version, header_.replaced_sha256(), blob,
            AuditEntry{caller_.key_id, "reseal_security_vector", header_.name(), keys});
    if (absl::IsAborted(replaced.status())) return SealedVersionChanged();
    WT_RETURN_IF_ERROR(replaced.status());
    context_.log.Write("audit", {{"action", std::string("reseal_security_vector")},
                                 {"key", caller_.key_id},
                                 {"target", header_.name()},
                                 {"reason", keys}});
    return ResponseOf(*replaced);
  }

  static v1::ReplaceSealedVersionResponse ResponseOf(const SecurityVectorRecord& record) {
    v1::ReplaceSealedVersionResponse response;
    *response.mutable_version() = ToSealedVersion(record);
    return response;
  }

  HandlerContext& context_;
  const Caller caller_;
  ReplaceHeader header_;
  SecurityVectorRecord version_;
  bool replaced_before_ = false;
  WholeUpload upload_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<
    ReceivingCall<v1::ReplaceSealedVersionRequest, v1::ReplaceSealedVersionResponse>>>
ReplaceSealedVersion(HandlerContext& context, const Caller& caller) {
  return std::make_unique<ReplaceSealedVersionCall>(context, caller);
}

}  // namespace wardtune
