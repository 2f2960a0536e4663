// The adapter that a chained job goes on from: whether the provider lets it, and what the job takes
// over from it.
// Thread safety: re-entrant functions.
#ifndef WARDTUNE_SERVER_START_ADAPTER_CHECK_H_
#define WARDTUNE_SERVER_START_ADAPTER_CHECK_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/server_limits.h"
#include "storage/records.h"
#include "wardtune/v1/fine_tuning_service.pb.h"

namespace wardtune {

// Errors: INVALID_ARGUMENT naming `start_adapter` when it is another model's; FAILED_PRECONDITION
// with the reason ADAPTER_QUARANTINED, START_ADAPTER_BASE_CHANGED or CHAIN_TOO_LONG.
absl::Status CheckStartAdapter(const AdapterRecord& start, const BaseModelRecord& model,
                               const ServerLimits& limits);

// `requested` with the adapter's LoRA rank, alpha and target modules where it leaves them out.
// Training goes on in the adapter's own matrices, so that others cannot be had.
// Errors: INVALID_ARGUMENT naming each such field with the value asked for and the adapter's.
absl::StatusOr<v1::Hyperparameters> WithLoraOf(const AdapterRecord& start,
                                               const v1::Hyperparameters& requested);

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_START_ADAPTER_CHECK_H_
