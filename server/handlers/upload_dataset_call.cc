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
  // Line 0 is the data set as a whole.
  const auto bad_rows = std::count_if(report.errors.begin(), report.errors.end(),
                                      [](const JsonlError& error) { return error.line > 0; });
  message.set_rows(report.rows + bad_rows);
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

UploadDatasetCall::~UploadDatasetCall() {
  // Bytes that no row counts are cut off, or they would lie outside the tenant's quota.
  if (partial_ == nullptr || partial_->size() <= synced_bytes_) return;
  partial_.reset();
  context_.blobs.OpenPartial(dataset_id_, synced_bytes_).status().IgnoreError();
}

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
  if (header.size_bytes() < 0) return InvalidField("header.size_bytes", "must not be negative");
  expected_bytes_ = header.size_bytes();
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
  synced_bytes_ = dataset.received_bytes;
  if (absl::IsDataLoss(partial.status())) {
    // A crash between the commit of the blob and its row: the bytes are no longer a partial.
    const absl::StatusOr<int64_t> committed = context_.blobs.Size(expected_sha256_);
    if (committed.ok() && *committed == synced_bytes_) {
      committed_ = {expected_sha256_, synced_bytes_};
      return ValidateStored();
    }
    WT_RETURN_IF_ERROR(context_.store.datasets().RecordReceived(caller_.tenant_id, dataset_id_, 0));
    return OffsetMismatch(0, header.offset());
  }
  WT_RETURN_IF_ERROR(partial.status());
  partial_ = *std::move(partial);
  return ValidateStored();
}

absl::Status UploadDatasetCall::ValidateStored() {
  while (received_bytes_ < synced_bytes_) {
    const int64_t length = std::min(kMaxChunkBytes, synced_bytes_ - received_bytes_);
    WT_ASSIGN_OR_RETURN(const std::string bytes,
                        committed_.empty()
                            ? context_.blobs.ReadPartial(dataset_id_, received_bytes_, length)
                            : context_.blobs.ReadRange(committed_.sha256, received_bytes_, length));
    if (bytes.empty()) return absl::DataLossError("a partial data set is shorter than recorded");
    validator_.Feed(bytes);
    received_bytes_ += static_cast<int64_t>(bytes.size());
  }
  return absl::OkStatus();
}

absl::Status UploadDatasetCall::TakeChunk(const std::string& chunk) {
  if (static_cast<int64_t>(chunk.size()) > kMaxChunkBytes) {
    return InvalidField("chunk", "must be at most 1 MiB");
  }
  if (!committed_.empty()) return OffsetMismatch(committed_.size_bytes, received_bytes_);
  validator_.Feed(chunk);
  received_bytes_ += static_cast<int64_t>(chunk.size());
  // Data that will be refused need not be kept, only read on for its other errors.
  if (validate_only_ || validator_.failed()) return absl::OkStatus();
  WT_RETURN_IF_ERROR(partial_->Append(chunk));
  if (partial_->size() - synced_bytes_ >= context_.limits.sync_every_bytes) return Checkpoint();
  return absl::OkStatus();
}

absl::Status UploadDatasetCall::Checkpoint() {
  if (partial_ == nullptr) return absl::OkStatus();
  WT_ASSIGN_OR_RETURN(const int64_t durable, partial_->Sync());
  WT_RETURN_IF_ERROR(
      context_.store.datasets().RecordReceived(caller_.tenant_id, dataset_id_, durable));
  synced_bytes_ = durable;
  return absl::OkStatus();
}

absl::Status UploadDatasetCall::Reject(const JsonlReport& report) {
  WT_RETURN_IF_ERROR(
      context_.store.datasets()
          .RejectDataset(caller_.tenant_id, dataset_id_, ToMessage(report).SerializeAsString())
          .status());
  partial_.reset();
  WT_RETURN_IF_ERROR(context_.blobs.DiscardPartial(dataset_id_));
  return ToStatus(report);
}

absl::StatusOr<v1::UploadDatasetResponse> UploadDatasetCall::Complete(
    const absl::AnyInvocable<bool() const>& still_there) {
  if (!open_) return InvalidField("header", "the stream was empty");
  WT_RETURN_IF_ERROR(Checkpoint());
  // A connection that broke looks like a finished stream for a moment. The size in the header tells
  // the two apart; without one the sync above has given gRPC time to.
  if (!still_there()) return absl::CancelledError("the caller is gone");
  if (!validator_.stopped() && received_bytes_ < expected_bytes_) {
    return WithReason(
        absl::UnavailableError(absl::StrCat("the stream ended after ", received_bytes_, " of ",
                                            expected_bytes_, " bytes; take the upload up again")),
        "UPLOAD_CUT_SHORT");
  }
  const JsonlReport report = validator_.Finish();
  if (validate_only_) {
    v1::UploadDatasetResponse response;
    *response.mutable_report() = ToMessage(report);
    return response;
  }
  if (!report.ok()) return Reject(report);
  return Store(report);
}

absl::StatusOr<BlobRef> UploadDatasetCall::Commit() {
  if (!committed_.empty()) {
    context_.blobs.Keep(committed_.sha256);
    WT_RETURN_IF_ERROR(context_.blobs.Verify(committed_.sha256));
    return committed_;
  }
  partial_.reset();
  return context_.blobs.CommitPartial(dataset_id_, expected_sha256_);
}

absl::StatusOr<v1::UploadDatasetResponse> UploadDatasetCall::Store(const JsonlReport& report) {
  const absl::StatusOr<BlobRef> blob = Commit();
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
  Checkpoint().IgnoreError();
}

}  // namespace wardtune
