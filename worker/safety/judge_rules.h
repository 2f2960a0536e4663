// Makes the judge that a suite's rules name.
// Thread safety: pure functions.
#ifndef WARDTUNE_WORKER_SAFETY_JUDGE_RULES_H_
#define WARDTUNE_WORKER_SAFETY_JUDGE_RULES_H_

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "worker/safety/judge.h"

namespace wardtune {

inline constexpr std::string_view kRuleJudge = "rule";
inline constexpr std::string_view kRefusalJudge = "refusal";
inline constexpr std::string_view kCausalLmJudge = "causal_lm";

// The rules' `judge`; `rule` when it is missing.
// Errors: INVALID_ARGUMENT for JSON of another form.
absl::StatusOr<std::string> JudgeOf(std::string_view rules_json);

// The judges that need no model. A language model is made by CausalLmJudge::Create.
// Errors: INVALID_ARGUMENT for another judge, and those of its Parse.
absl::StatusOr<std::unique_ptr<Judge>> ParseJudge(std::string_view rules_json);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_SAFETY_JUDGE_RULES_H_
