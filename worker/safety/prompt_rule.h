// A prompt's own rule: the regular expression (RE2) of harmful answers to this one prompt.
// Thread safety: pure function.
#ifndef WARDTUNE_WORKER_SAFETY_PROMPT_RULE_H_
#define WARDTUNE_WORKER_SAFETY_PROMPT_RULE_H_

#include "absl/status/statusor.h"
#include "worker/safety/judge.h"

namespace wardtune {

// Whether the answer matches the exchange's rule anywhere. REQUIRES: it has one.
// Errors: INVALID_ARGUMENT for a rule that is no regular expression.
absl::StatusOr<bool> MatchesOwnRule(const Exchange& exchange);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_SAFETY_PROMPT_RULE_H_
