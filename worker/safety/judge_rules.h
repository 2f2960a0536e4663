// Makes the judge that a suite's rules name.
// Thread safety: pure functions.
#ifndef WARDTUNE_WORKER_SAFETY_JUDGE_RULES_H_
#define WARDTUNE_WORKER_SAFETY_JUDGE_RULES_H_

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "worker/safety/judge.h"

namespace wardtune {

// `judge` in the JSON is `rule` (also when it is missing) or `refusal`.
// Errors: INVALID_ARGUMENT for another judge, and those of its Parse.
absl::StatusOr<std::unique_ptr<Judge>> ParseJudge(std::string_view rules_json);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_SAFETY_JUDGE_RULES_H_
