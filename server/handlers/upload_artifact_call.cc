#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/handlers/requests.h"
#include "server/handlers/whole_upload.h"
#include "server/handlers/worker_handlers.h"
#include "server/resource_names.h"

namespace wardtune {
namespace {

// One upload at a time of one kind in one attempt.
std::string PartialId(const JobRecord& job, v1::UploadArtifactRequest::Kind kind) {
  return absl::StrCat("artifact-", job.id, "-", job.attempt, "-", static_cast<int>(kind));
}

class UploadArtifactCall final
    : public ReceivingCall<v1::UploadArtifactRequest, v1::UploadArtifactResponse> {
 public:
  explicit UploadArtifactCall(HandlerContext& context) : context_(context), upload_(context) {}

  absl::Status Consume(const v1::UploadArtifactRequest& message) override {
    WT_RETURN_IF_ERROR(upload_.CheckOrder(message.has_header()));
    return message.has_header() ? Open(message.header()) : upload_.Append(message.chunk());
  }

  absl::StatusOr<v1::UploadArtifactResponse> Complete(
      const absl::AnyInvocable<bool() const>&) override {
    WT_ASSIGN_OR_RETURN(const BlobRef blob, upload_.Commit());
    // The store checks the fence again: the lease may have been lost while the bytes came.
    WT_ASSIGN_OR_RETURN(const BlobRef replaced,
                        context_.store.work().RecordArtifact(
                            job_id_, header_.attempt(), static_cast<ArtifactKind>(header_.kind()),
                            blob, header_.step()));
    // One a minute of every running job is too much to keep for the collector's grace.
    if (!replaced.empty()) context_.blobs.Retire(replaced.sha256);
    v1::UploadArtifactResponse response;
    response.set_sha256(blob.sha256);
    return response;
  }

 private:
  absl::Status Open(const v1::UploadArtifactRequest::Header& header) {
    WT_RETURN_IF_ERROR(
        WholeUpload::CheckHeader(header.sha256(), header.size_bytes(), context_.limits));
    if (header.step() < 0) return InvalidField("header.step", "must not be negative");
    WT_ASSIGN_OR_RETURN(const LeaseRecord lease,
                        FindLease(context_, header.work(), header.attempt()));
    WT_RETURN_IF_ERROR(CheckKind(lease.job, header.kind()));
    header_ = header;
    job_id_ = lease.job.id;
    return upload_.Open(header.work(), PartialId(lease.job, header.kind()), header.sha256(),
                        header.size_bytes());
  }

  static absl::Status CheckKind(const JobRecord& job, v1::UploadArtifactRequest::Kind kind) {
    const auto result = job.kind == JobKind::kFineTuning
                            ? v1::UploadArtifactRequest::KIND_ADAPTER
                            : v1::UploadArtifactRequest::KIND_SECURITY_VECTOR;
    const bool makes_artefacts = job.kind != JobKind::kAudit;
    if (makes_artefacts && (kind == v1::UploadArtifactRequest::KIND_CHECKPOINT || kind == result)) {
      return absl::OkStatus();
    }
    return InvalidField("header.kind", "does not fit this work");
  }

  HandlerContext& context_;
  v1::UploadArtifactRequest::Header header_;
  std::string job_id_;
  WholeUpload upload_;
};

}  // namespace

absl::StatusOr<
    std::unique_ptr<ReceivingCall<v1::UploadArtifactRequest, v1::UploadArtifactResponse>>>
UploadArtifact(HandlerContext& context, const Caller&) {
  return std::make_unique<UploadArtifactCall>(context);
}

}  // namespace wardtune
