#include "server/handlers/upload_dataset_call.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/handlers/requests.h"
#include "server/handlers/resource_messages.h"
#include "server/resource_names.h"
#include "storage/error_reason.h"

namespace wardtune {
namespace {

constexpr int kMaxReportedErrors = 100;

JsonlOptions ValidatorOptions(const ServerLimits& limits) {
  JsonlOptions options;
  options.max_rows = limits.max_dataset_rows;
  options.max_bytes = limits.max_dataset_bytes;
  options.max_errors = kMaxReportedErrors;
  options.compute_sha256 = false;  // the blob store hashes what it commits
  return options;
}

v1::ValidationReport ToMessage(const JsonlReport& report) {
  v1::ValidationReport message;
  message.set_rows(report.rows + static_cast<int64_t>(report.errors.size()));
  message.set_valid_rows(report.rows - report.unsupervised_rows);
  message.set_supervised_turns(report.supervised_turns);
  for (const JsonlError& error : report.errors) {
    v1::RowError* row = message.add_errors();
    row->set_line(error.line);
    row->set_column(error.column);
    row->set_code(std::string(JsonlErrorCodeName(error.code)));
    row->set_message(error.reason);
  }
  message.set_error_count(static_cast<int64_t>(report.errors.size()));
  return message;
}

absl::Status ToStatus(const JsonlReport& report) {
  std::vector<FieldViolation> violations;
  for (const JsonlError& error : report.errors) {
    violations.push_back(
        {absl::StrCat("line ", error.line, ", column ", error.column),
         absl::StrCat(std::string(JsonlErrorCodeName(error.code)), ": ", error.reason)});
  }
  return WithReason(InvalidFields(violations), "DATASET_REJECTED");
}

absl::Status OffsetMismatch(int64_t received, int64_t offset) {
  return WithReason(
      absl::FailedPreconditionError(absl::StrCat(
          "the data set has ", received, " bytes; the upload goes on from there, not at ", offset)),
      "OFFSET_MISMATCH");
}

}  // namespace

UploadDatasetCall::UploadDatasetCall(HandlerContext& context, Caller caller)
    : context_(context), caller_(std::move(caller)), validator_(ValidatorOptions(context.limits)) {}

absl::Status UploadDatasetCall::Consume(const v1::UploadDatasetRequest& message) {
  if (message.has_header() == open_) {
    return InvalidField(open_ ? "chunk" : "header",
                        "the stream is one header, then chunks and nothing else");
  }
  if (!open_) {
    WT_RETURN_IF_ERROR(Open(message.header()));
    open_ = true;
    return absl::OkStatus();
  }
  return TakeChunk(message.chunk());
}

absl::Status UploadDatasetCall::Open(const v1::UploadDatasetRequest::Header& header) {
  validate_only_ = header.validate_only();
  if (!header.sha256().empty() && !IsSha256Hex(header.sha256())) {
    return InvalidField("header.sha256", "must be 64 lower-case hexadecimal characters, or empty");
  }
  if (validate_only_) {
    WT_ASSIGN_OR_RETURN(slot_, context_.upload_slots.Acquire(caller_.tenant_id, ""));
    return absl::OkStatus();
  }
  expected_sha256_ = header.sha256();
  return OpenPartial(header);
}

absl::Status UploadDatasetCall::OpenPartial(const v1::UploadDatasetRequest::Header& header) {
  WT_ASSIGN_OR_RETURN(dataset_id_, ParseOwnId(caller_, kDatasets, header.name(), "header.name"));
  // Looked up before the slot is taken: only what exists can be busy.
  WT_RETURN_IF_ERROR(
      Named("data set", context_.store.datasets().GetDataset(caller_.tenant_id, dataset_id_))
          .status());
  WT_ASSIGN_OR_RETURN(slot_, context_.upload_slots.Acquire(caller_.tenant_id, dataset_id_));
  WT_ASSIGN_OR_RETURN(
      const DatasetRecord dataset,
      Named("data set", context_.store.datasets().GetDataset(caller_.tenant_id, dataset_id_)));
  if (dataset.state != DatasetState::kUploading) {
    return WithReason(absl::FailedPreconditionError(
                          "the data set is complete or was rejected; create another one"),
                      "DATASET_NOT_UPLOADING");
  }
  if (header.offset() != dataset.received_bytes) {
    return OffsetMismatch(dataset.received_bytes, header.offset());
  }
  absl::StatusOr<std::unique_ptr<PartialBlob>> partial =
      context_.blobs.OpenPartial(dataset_id_, dataset.received_bytes);
  if (absl::IsDataLoss(partial.status())) {
    // A crash between the commit of the blob and its row: the bytes are no longer a partial.
    WT_RETURN_IF_ERROR(context_.store.datasets().RecordReceived(caller_.tenant_id, dataset_id_, 0));
    return OffsetMismatch(0, header.offset());
  }
  WT_RETURN_IF_ERROR(partial.status());
  partial_ = *std::move(partial);
  synced_bytes_ = dataset.received_bytes;
  for (int64_t offset = 0; offset < synced_bytes_;) {
    WT_ASSIGN_OR_RETURN(const std::string bytes,
                        context_.blobs.ReadPartial(
                            dataset_id_, offset, std::min(kMaxChunkBytes, synced_bytes_ - offset)));
    if (bytes.empty()) return absl::DataLossError("a partial data set is shorter than recorded");
    validator_.Feed(bytes);
    offset += static_cast<int64_t>(bytes.size());
  }
  return absl::OkStatus();
}

absl::Status UploadDatasetCall::TakeChunk(const std::string& chunk) {
  if (static_cast<int64_t>(chunk.size()) > kMaxChunkBytes) {
    return InvalidField("chunk", "must be at most 1 MiB");
  }
  validator_.Feed(chunk);
  if (validator_.stopped()) return Reject(validator_.Finish());
  if (validate_only_) return absl::OkStatus();
  WT_RETURN_IF_ERROR(partial_->Append(chunk));
  if (partial_->size() - synced_bytes_ >= context_.limits.sync_every_bytes) return Checkpoint();
  return absl::OkStatus();
}

absl::Status UploadDatasetCall::Checkpoint() {
  WT_ASSIGN_OR_RETURN(const int64_t durable, partial_->Sync());
  WT_RETURN_IF_ERROR(
      context_.store.datasets().RecordReceived(caller_.tenant_id, dataset_id_, durable));
  synced_bytes_ = durable;
  return absl::OkStatus();
}

absl::Status UploadDatasetCall::Reject(const JsonlReport& report) {
  if (!validate_only_) {
    WT_RETURN_IF_ERROR(
        context_.store.datasets()
            .RejectDataset(caller_.tenant_id, dataset_id_, ToMessage(report).SerializeAsString())
            .status());
    partial_.reset();
    WT_RETURN_IF_ERROR(context_.blobs.DiscardPartial(dataset_id_));
  }
  return ToStatus(report);
}

absl::StatusOr<v1::UploadDatasetResponse> UploadDatasetCall::Complete(
    const absl::AnyInvocable<bool() const>& still_there) {
  if (!open_) return InvalidField("header", "the stream was empty");
  if (!validate_only_) WT_RETURN_IF_ERROR(Checkpoint());
  // A connection that broke looks like a finished stream for a moment; the sync above has given
  // gRPC time to tell the two apart, and a SHA-256 in the header makes it certain.
  if (!still_there()) return absl::CancelledError("the caller is gone");
  const JsonlReport report = validator_.Finish();
  if (!report.ok()) return Reject(report);
  if (!validate_only_) return Store(report);
  v1::UploadDatasetResponse response;
  *response.mutable_report() = ToMessage(report);
  return response;
}

absl::StatusOr<v1::UploadDatasetResponse> UploadDatasetCall::Store(const JsonlReport& report) {
  partial_.reset();
  const absl::StatusOr<BlobRef> blob = context_.blobs.CommitPartial(dataset_id_, expected_sha256_);
  if (absl::IsDataLoss(blob.status())) {
    // Nobody can say which bytes are wrong: the upload starts again from the beginning.
    WT_RETURN_IF_ERROR(context_.store.datasets().RecordReceived(caller_.tenant_id, dataset_id_, 0));
    WT_RETURN_IF_ERROR(context_.blobs.DiscardPartial(dataset_id_));
    return WithReason(
        absl::DataLossError("the bytes do not have the SHA-256 in the header; upload them again"),
        "SHA256_MISMATCH");
  }
  WT_RETURN_IF_ERROR(blob.status());
  const v1::ValidationReport message = ToMessage(report);
  WT_ASSIGN_OR_RETURN(const DatasetRecord record,
                      context_.store.datasets().FinishDataset(
                          caller_.tenant_id, dataset_id_, *blob,
                          report.rows - report.unsupervised_rows, message.SerializeAsString()));
  v1::UploadDatasetResponse response;
  *response.mutable_dataset() = ::wardtune::ToMessage(record);
  *response.mutable_report() = message;
  return response;
}

void UploadDatasetCall::Abandon() {
  // Keeps what has come; when that fails the last checkpoint still stands.
  if (partial_ != nullptr) Checkpoint().IgnoreError();
}

}  // namespace wardtune
