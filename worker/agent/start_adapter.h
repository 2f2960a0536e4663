// The adapter that a chained job goes on from.
// Thread safety: belongs to the attempt's thread.
#ifndef WARDTUNE_WORKER_AGENT_START_ADAPTER_H_
#define WARDTUNE_WORKER_AGENT_START_ADAPTER_H_

#include "absl/status/statusor.h"
#include "wardtune/v1/worker_service.pb.h"
#include "worker/agent/attempt.h"
#include "worker/model/adapter.h"
#include "worker/model/model_config.h"

namespace wardtune {

// Fetches the lease's start adapter, its values as they were stored. It is the server's own
// artefact and taken as untrusted all the same: one larger than such an adapter can be is not
// fetched, and it must have the job's rank, alpha and target modules and the tensors that `work`
// names by digest.
// Errors: those of Attempt::Fetch; the reason INPUT_INVALID otherwise. REQUIRES: the work has one.
absl::StatusOr<LoraAdapter> FetchStartAdapter(Attempt& attempt, const v1::FineTuningWork& work,
                                              const ModelConfig& config);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_AGENT_START_ADAPTER_H_
