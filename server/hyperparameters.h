// Hyperparameters of customers' jobs: checked field by field, defaults filled in.
// Thread safety: re-entrant functions.
#ifndef WARDTUNE_SERVER_HYPERPARAMETERS_H_
#define WARDTUNE_SERVER_HYPERPARAMETERS_H_

#include "absl/status/statusor.h"
#include "server/server_limits.h"
#include "wardtune/v1/fine_tuning_service.pb.h"
#include "wardtune/v1/security_vector_service.pb.h"

namespace wardtune {

// `requested` with every field set. `context_length` is the base model's.
// Errors: INVALID_ARGUMENT naming every bad field as `hyperparameters.<field>`, NaN and infinity
// among them.
absl::StatusOr<v1::Hyperparameters> ResolveHyperparameters(const v1::Hyperparameters& requested,
                                                           int32_t context_length,
                                                           const ServerLimits& limits);

// The same for a security vector's recipe, as `recipe.<field>`. The provider is not held to the
// tenants' caps, only to what makes sense.
absl::StatusOr<v1::SecurityVectorRecipe> ResolveRecipe(const v1::SecurityVectorRecipe& requested);

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_HYPERPARAMETERS_H_
