#include "server/handlers/whole_upload.h"

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/handlers/requests.h"
#include "storage/error_reason.h"

namespace wardtune {

WholeUpload::~WholeUpload() {
  if (partial_ == nullptr) return;
  partial_.reset();
  context_.blobs.DiscardPartial(partial_id_).IgnoreError();
}

absl::Status WholeUpload::CheckHeader(const std::string& sha256, int64_t size_bytes,
                                      const ServerLimits& limits) {
  if (!IsSha256Hex(sha256)) {
    return InvalidField("header.sha256", "must be 64 lower-case hexadecimal characters");
  }
  if (size_bytes < 1 || size_bytes > limits.max_artifact_bytes) {
    return InvalidField("header.size_bytes",
                        absl::StrCat("must be 1 to ", limits.max_artifact_bytes));
  }
  return absl::OkStatus();
}

absl::Status WholeUpload::CheckOrder(bool has_header) const {
  if (has_header != (partial_ != nullptr)) return absl::OkStatus();
  return InvalidField(partial_ == nullptr ? "header" : "chunk",
                      "the stream is one header, then chunks and nothing else");
}

absl::Status WholeUpload::Open(const std::string& owner, const std::string& partial_id,
                               const std::string& sha256, int64_t size_bytes) {
  WT_ASSIGN_OR_RETURN(slot_, context_.upload_slots.Acquire(owner, partial_id));
  sha256_ = sha256;
  size_bytes_ = size_bytes;
  partial_id_ = partial_id;
  WT_ASSIGN_OR_RETURN(partial_, context_.blobs.OpenPartial(partial_id_, 0));
  return absl::OkStatus();
}

absl::Status WholeUpload::Append(const std::string& chunk) {
  if (static_cast<int64_t>(chunk.size()) > kMaxChunkBytes) {
    return InvalidField("chunk", "must be at most 1 MiB");
  }
  if (partial_->size() + static_cast<int64_t>(chunk.size()) > size_bytes_) {
    return InvalidField("header.size_bytes", "more bytes came than it says");
  }
  return partial_->Append(chunk);
}

absl::StatusOr<BlobRef> WholeUpload::Commit() {
  if (partial_ == nullptr) return InvalidField("header", "the stream was empty");
  if (partial_->size() != size_bytes_) {
    return InvalidField("header.size_bytes", absl::StrCat("says ", size_bytes_, " but ",
                                                          partial_->size(), " bytes came"));
  }
  partial_.reset();
  absl::StatusOr<BlobRef> blob = context_.blobs.CommitPartial(partial_id_, sha256_);
  if (absl::IsDataLoss(blob.status())) {
    WT_RETURN_IF_ERROR(context_.blobs.DiscardPartial(partial_id_));
    return WithReason(absl::DataLossError("the bytes do not have the SHA-256 in the header"),
                      "SHA256_MISMATCH");
  }
  return blob;
}

}  // namespace wardtune
