// Bytes that come in one stream, whole or not at all: nothing is resumed, and what did not arrive
// whole leaves nothing behind.
// Thread safety: belongs to one call.
#ifndef WARDTUNE_SERVER_HANDLERS_WHOLE_UPLOAD_H_
#define WARDTUNE_SERVER_HANDLERS_WHOLE_UPLOAD_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/handlers/handler_context.h"

namespace wardtune {

class WholeUpload {
 public:
  explicit WholeUpload(HandlerContext& context) : context_(context) {}
  ~WholeUpload();
  WholeUpload(const WholeUpload&) = delete;
  WholeUpload& operator=(const WholeUpload&) = delete;

  // INVALID_ARGUMENT naming `header.sha256` or `header.size_bytes`, at most
  // limits.max_artifact_bytes.
  static absl::Status CheckHeader(const std::string& sha256, int64_t size_bytes,
                                  const ServerLimits& limits);

  // INVALID_ARGUMENT when a header comes behind the first message, or a chunk as the first.
  absl::Status CheckOrder(bool has_header) const;
  // Starts with nothing; `owner` and `partial_id` as TenantSlots::Acquire. REQUIRES: the header was
  // checked. Errors: those of Acquire and of the blob store.
  absl::Status Open(const std::string& owner, const std::string& partial_id,
                    const std::string& sha256, int64_t size_bytes);
  // Errors: INVALID_ARGUMENT for a chunk above 1 MiB or more bytes than the header says.
  absl::Status Append(const std::string& chunk);
  // The bytes as a blob.
  // Errors: INVALID_ARGUMENT when fewer came than the header says, or nothing at all; DATA_LOSS
  // with SHA256_MISMATCH when they are others.
  absl::StatusOr<BlobRef> Commit();

 private:
  HandlerContext& context_;
  std::string sha256_;
  int64_t size_bytes_ = 0;
  std::string partial_id_;
  std::unique_ptr<TenantSlots::Slot> slot_;
  std::unique_ptr<PartialBlob> partial_;  // from Open until Commit
};

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_HANDLERS_WHOLE_UPLOAD_H_
