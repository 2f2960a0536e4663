// DatasetService.UploadDataset: validates a data set while it streams in, and keeps it resumable.
//
// Bytes go to the data set's partial blob; every few megabytes they are synced and `received_bytes`
// moves on. When an upload is taken up again, after a broken connection or a crash, the stored
// bytes run through the validator first, so the verdict covers the whole file. Data that is refused
// leaves no bytes behind, only its report.
// Thread safety: belongs to one call.
#ifndef WARDTUNE_SERVER_HANDLERS_UPLOAD_DATASET_CALL_H_
#define WARDTUNE_SERVER_HANDLERS_UPLOAD_DATASET_CALL_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "formats/jsonl_validator.h"
#include "server/handlers/handler_context.h"
#include "server/rpc/caller.h"
#include "server/rpc/stream_reactors.h"
#include "wardtune/v1/dataset_service.pb.h"

namespace wardtune {

class UploadDatasetCall final
    : public ReceivingCall<v1::UploadDatasetRequest, v1::UploadDatasetResponse> {
 public:
  UploadDatasetCall(HandlerContext& context, Caller caller);
  ~UploadDatasetCall() override;

  absl::Status Consume(const v1::UploadDatasetRequest& message) override;
  absl::StatusOr<v1::UploadDatasetResponse> Complete(
      const absl::AnyInvocable<bool() const>& still_there) override;
  void Abandon() override;
  bool enough() const override { return validator_.stopped(); }

 private:
  absl::Status Open(const v1::UploadDatasetRequest::Header& header);
  // Opens the data set's partial blob where it ended and validates what is in it.
  absl::Status OpenPartial(const v1::UploadDatasetRequest::Header& header);
  // Runs the bytes that are stored already through the validator.
  absl::Status ValidateStored();
  absl::Status TakeChunk(const std::string& chunk);
  // Makes all bytes so far durable and says so in the database.
  absl::Status Checkpoint();
  // Stores the report of a data set that is refused, drops its bytes, and says what is wrong.
  absl::Status Reject(const JsonlReport& report);
  // The bytes as a blob. Errors: DATA_LOSS when they do not have the SHA-256 in the header.
  absl::StatusOr<BlobRef> Commit();
  absl::StatusOr<v1::UploadDatasetResponse> Store(const JsonlReport& report);

  HandlerContext& context_;
  const Caller caller_;
  bool open_ = false;
  bool validate_only_ = false;
  std::string dataset_id_;
  std::string expected_sha256_;
  int64_t expected_bytes_ = 0;  // of the whole content; 0: not known
  int64_t received_bytes_ = 0;  // that the validator has read
  int64_t synced_bytes_ = 0;
  // Set when an earlier stream stored everything and crashed before it could say so.
  BlobRef committed_;
  std::unique_ptr<TenantSlots::Slot> slot_;
  std::unique_ptr<PartialBlob> partial_;
  JsonlValidator validator_;
};

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_HANDLERS_UPLOAD_DATASET_CALL_H_
