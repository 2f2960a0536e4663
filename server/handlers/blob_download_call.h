// A server stream of a blob's bytes from an offset, for adapters and workers' inputs.
#ifndef WARDTUNE_SERVER_HANDLERS_BLOB_DOWNLOAD_CALL_H_
#define WARDTUNE_SERVER_HANDLERS_BLOB_DOWNLOAD_CALL_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "server/rpc/error_details.h"
#include "server/rpc/stream_reactors.h"
#include "server/server_limits.h"
#include "storage/blob_store.h"
#include "storage/error_reason.h"

namespace wardtune {

// `Response` has a `chunk` field. Belongs to one call.
template <typename Response>
class BlobDownloadCall final : public SendingCall<Response> {
 public:
  using Step = typename SendingCall<Response>::Step;

  // Reads the whole blob once to verify its digest before the first byte leaves, in pieces between
  // which other calls have their turn and a client that left is noticed.
  // Errors: INVALID_ARGUMENT for a negative offset, OUT_OF_RANGE for one past the end; later
  // DATA_LOSS when the stored bytes are missing or do not have their SHA-256.
  static absl::StatusOr<std::unique_ptr<SendingCall<Response>>> Open(BlobStore& blobs,
                                                                     const BlobRef& blob,
                                                                     int64_t offset) {
    if (offset < 0) return InvalidField("offset", "must not be negative");
    if (offset > blob.size_bytes) {
      return absl::OutOfRangeError(
          absl::StrCat("the offset ", offset, " is past the end at ", blob.size_bytes));
    }
    return std::unique_ptr<SendingCall<Response>>(new BlobDownloadCall(blobs, blob, offset));
  }

  absl::StatusOr<Step> Next(Response& message) override {
    if (!verified_) return VerifyPiece();
    if (offset_ >= blob_.size_bytes) return Step::kEnd;
    WT_ASSIGN_OR_RETURN(*message.mutable_chunk(),
                        blobs_.ReadRange(blob_.sha256, offset_, kMaxChunkBytes));
    if (message.chunk().empty()) return absl::DataLossError("a blob is shorter than recorded");
    offset_ += static_cast<int64_t>(message.chunk().size());
    return Step::kMessage;
  }

 private:
  BlobDownloadCall(BlobStore& blobs, BlobRef blob, int64_t offset)
      : blobs_(blobs), blob_(std::move(blob)), offset_(offset) {}

  absl::StatusOr<Step> VerifyPiece() {
    const auto piece = blobs_.ReadRange(blob_.sha256, checked_bytes_, kPieceBytes);
    if (absl::IsNotFound(piece.status())) return Damaged();
    WT_RETURN_IF_ERROR(piece.status());
    digest_.Update(*piece);
    checked_bytes_ += static_cast<int64_t>(piece->size());
    if (!piece->empty()) return Step::kAgain;
    verified_ = digest_.HexDigest() == blob_.sha256;
    return verified_ ? absl::StatusOr<Step>(Step::kAgain) : Damaged();
  }

  static absl::Status Damaged() {
    return WithReason(absl::DataLossError("the stored bytes no longer have their SHA-256"),
                      "STORED_BYTES_DAMAGED");
  }

  static constexpr int64_t kPieceBytes = int64_t{1} << 20;

  BlobStore& blobs_;
  const BlobRef blob_;
  int64_t offset_;
  Sha256 digest_;
  int64_t checked_bytes_ = 0;
  bool verified_ = false;
};

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_HANDLERS_BLOB_DOWNLOAD_CALL_H_
