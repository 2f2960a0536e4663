// What an earlier job delivered, taken in again: a chained job goes on from an adapter, an audit
// scores an adapter or a model.
// Thread safety: belongs to the attempt's thread.
#ifndef WARDTUNE_WORKER_AGENT_DELIVERED_ADAPTER_H_
#define WARDTUNE_WORKER_AGENT_DELIVERED_ADAPTER_H_

#include "absl/status/statusor.h"
#include "wardtune/v1/worker_service.pb.h"
#include "worker/agent/attempt.h"
#include "worker/agent/base_models.h"
#include "worker/model/adapter.h"

namespace wardtune {

// Fetches the adapter that the lease names as `named`, its values as they were stored. It is the
// server's own artefact and taken as untrusted all the same: one larger than such an adapter can be
// is not fetched, and it must have the rank, alpha and target modules of `made_with` and the
// tensors that `named` has by digest.
// Errors: the reason BASE_MODEL_MISMATCH where `base` is not the folder that it was trained on;
// those of Attempt::Fetch; the reason INPUT_INVALID otherwise.
absl::StatusOr<LoraAdapter> FetchDeliveredAdapter(Attempt& attempt, v1::WorkInput::Kind kind,
                                                  const v1::DeliveredAdapter& named,
                                                  const v1::Hyperparameters& made_with,
                                                  const BaseModel& base);

// The same for the model of a full-parameter job, whose weights `named` has by the digest of their
// file.
absl::StatusOr<DecoderModel> FetchDeliveredModel(Attempt& attempt, v1::WorkInput::Kind kind,
                                                 const v1::DeliveredAdapter& named,
                                                 const BaseModel& base);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_AGENT_DELIVERED_ADAPTER_H_
