// The one check of token ids at the border of the engine.
// Thread safety: re-entrant.
#ifndef WARDTUNE_WORKER_MODEL_TOKEN_CHECK_H_
#define WARDTUNE_WORKER_MODEL_TOKEN_CHECK_H_

#include <cstdint>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "worker/model/model_config.h"

namespace wardtune {

// Errors: INVALID_ARGUMENT, opening with `what`, for an empty sequence, one longer than the model's
// context, or an id outside its vocabulary.
absl::Status CheckTokens(std::span<const int32_t> ids, const ModelConfig& config,
                         std::string_view what);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_TOKEN_CHECK_H_
