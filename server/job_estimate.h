// What a job will cost, found by tokenising its data set before it is accepted.
// Thread safety: re-entrant.
#ifndef WARDTUNE_SERVER_JOB_ESTIMATE_H_
#define WARDTUNE_SERVER_JOB_ESTIMATE_H_

#include <string>

#include "absl/status/statusor.h"
#include "storage/blob_store.h"
#include "wardtune/v1/fine_tuning_service.pb.h"

namespace wardtune {

class Tokenizer;

// Tokenises the first `max_bytes` of the data set, and more until it finds a usable row, exactly as
// training will, and scales what it counted to `dataset_bytes`; up to `max_bytes` the figures are
// exact. Blocks for about a second per few megabytes.
// Errors: INVALID_ARGUMENT naming `dataset` when no row keeps a supervised token after cutting, or
// when the chat template refuses a row, naming its line; those of the blob store.
absl::StatusOr<v1::JobEstimate> EstimateJob(BlobStore& blobs, const std::string& sha256,
                                            int64_t dataset_bytes, const Tokenizer& tokenizer,
                                            const v1::Hyperparameters& hyperparameters,
                                            int64_t max_bytes);

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_JOB_ESTIMATE_H_
