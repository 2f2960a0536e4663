#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/handlers/requests.h"
#include "server/handlers/worker_handlers.h"
#include "server/resource_names.h"
#include "storage/error_reason.h"

namespace wardtune {
namespace {

// One upload at a time of one kind in one attempt.
std::string PartialId(const JobRecord& job, v1::UploadArtifactRequest::Kind kind) {
  return absl::StrCat("artifact-", job.id, "-", job.attempt, "-", static_cast<int>(kind));
}

class UploadArtifactCall final
    : public ReceivingCall<v1::UploadArtifactRequest, v1::UploadArtifactResponse> {
 public:
  explicit UploadArtifactCall(HandlerContext& context) : context_(context) {}

  ~UploadArtifactCall() override {
    // Nothing is resumed: an artefact that did not arrive whole is sent again.
    if (partial_ == nullptr) return;
    partial_.reset();
    context_.blobs.DiscardPartial(partial_id_).IgnoreError();
  }

  absl::Status Consume(const v1::UploadArtifactRequest& message) override {
    if (message.has_header() == (partial_ != nullptr)) {
      return InvalidField(partial_ == nullptr ? "header" : "chunk",
                          "the stream is one header, then chunks and nothing else");
    }
    return message.has_header() ? Open(message.header()) : TakeChunk(message.chunk());
  }

  absl::StatusOr<v1::UploadArtifactResponse> Complete(
      const absl::AnyInvocable<bool() const>&) override {
    if (partial_ == nullptr) return InvalidField("header", "the stream was empty");
    if (partial_->size() != header_.size_bytes()) {
      return InvalidField("header.size_bytes", absl::StrCat("says ", header_.size_bytes(), " but ",
                                                            partial_->size(), " bytes came"));
    }
    partial_.reset();
    absl::StatusOr<BlobRef> blob = context_.blobs.CommitPartial(partial_id_, header_.sha256());
    if (absl::IsDataLoss(blob.status())) {
      WT_RETURN_IF_ERROR(context_.blobs.DiscardPartial(partial_id_));
      return WithReason(absl::DataLossError("the bytes do not have the SHA-256 in the header"),
                        "SHA256_MISMATCH");
    }
    WT_RETURN_IF_ERROR(blob.status());
    // The store checks the fence again: the lease may have been lost while the bytes came.
    WT_RETURN_IF_ERROR(context_.store.work().RecordArtifact(
        job_id_, header_.attempt(), static_cast<ArtifactKind>(header_.kind()), *blob,
        header_.step()));
    v1::UploadArtifactResponse response;
    response.set_sha256(blob->sha256);
    return response;
  }

 private:
  absl::Status Open(const v1::UploadArtifactRequest::Header& header) {
    if (!IsSha256Hex(header.sha256())) {
      return InvalidField("header.sha256", "must be 64 lower-case hexadecimal characters");
    }
    if (header.size_bytes() < 1 || header.size_bytes() > context_.limits.max_artifact_bytes) {
      return InvalidField("header.size_bytes",
                          absl::StrCat("must be 1 to ", context_.limits.max_artifact_bytes));
    }
    if (header.step() < 0) return InvalidField("header.step", "must not be negative");
    WT_ASSIGN_OR_RETURN(const LeaseRecord lease,
                        FindLease(context_, header.work(), header.attempt()));
    WT_RETURN_IF_ERROR(CheckKind(lease.job, header.kind()));
    header_ = header;
    job_id_ = lease.job.id;
    const std::string partial_id = PartialId(lease.job, header.kind());
    WT_ASSIGN_OR_RETURN(slot_, context_.upload_slots.Acquire(header.work(), partial_id));
    partial_id_ = partial_id;
    WT_ASSIGN_OR_RETURN(partial_, context_.blobs.OpenPartial(partial_id_, 0));
    return absl::OkStatus();
  }

  static absl::Status CheckKind(const JobRecord& job, v1::UploadArtifactRequest::Kind kind) {
    const bool fine_tuning = job.kind == JobKind::kFineTuning;
    if (kind == v1::UploadArtifactRequest::KIND_CHECKPOINT) return absl::OkStatus();
    if (kind == (fine_tuning ? v1::UploadArtifactRequest::KIND_ADAPTER
                             : v1::UploadArtifactRequest::KIND_SECURITY_VECTOR)) {
      return absl::OkStatus();
    }
    return InvalidField("header.kind", "does not fit this work");
  }

  absl::Status TakeChunk(const std::string& chunk) {
    if (static_cast<int64_t>(chunk.size()) > kMaxChunkBytes) {
      return InvalidField("chunk", "must be at most 1 MiB");
    }
    if (partial_->size() + static_cast<int64_t>(chunk.size()) > header_.size_bytes()) {
      return InvalidField("header.size_bytes", "more bytes came than it says");
    }
    return partial_->Append(chunk);
  }

  HandlerContext& context_;
  v1::UploadArtifactRequest::Header header_;
  std::string job_id_;
  std::string partial_id_;
  std::unique_ptr<TenantSlots::Slot> slot_;
  std::unique_ptr<PartialBlob> partial_;
};

}  // namespace

absl::StatusOr<
    std::unique_ptr<ReceivingCall<v1::UploadArtifactRequest, v1::UploadArtifactResponse>>>
UploadArtifact(HandlerContext& context, const Caller&) {
  return std::make_unique<UploadArtifactCall>(context);
}

}  // namespace wardtune
