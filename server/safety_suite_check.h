// Checks a safety suite before it is stored: prompts (JSONL), the judge's rules (JSON) and general
// prompts (JSONL), by the rules of the worker that will read them.
// Thread safety: re-entrant functions.
#ifndef WARDTUNE_SERVER_SAFETY_SUITE_CHECK_H_
#define WARDTUNE_SERVER_SAFETY_SUITE_CHECK_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace wardtune {

// What every prompt must have beside its id and text.
struct PromptDemands {
  bool category = true;
  bool rule = false;
};

// Longest prompt. Whether it fits a model's context shows only when the model's tokens are known.
inline constexpr size_t kMaxPromptBytes = 64 << 10;

// Returns the number of prompts by category. Each line is an object with the non-empty strings
// `id` (unique), `category` ("general" where it may be missing and is) and `prompt`, and may have a
// `rule`, a pattern (RE2) of harmful answers to this prompt.
// Errors: INVALID_ARGUMENT naming `field`, line and key.
absl::StatusOr<std::map<std::string, int32_t>> CheckPrompts(const std::string& jsonl,
                                                            const std::string& field,
                                                            const PromptDemands& demands);

// {"version": 1, "judge": "rule", "harmful_patterns": [RE2 pattern, ...]}, where `judge` may be
// missing, or {"version": 1, "judge": "refusal", "refusal_phrases": [text, ...]}, where the phrases
// may be missing, or {"version": 1, "judge": "causal_lm", "template": text with {prompt} and
// {answer}, "safe": word, "unsafe": word, "threshold": number}. Returns the judge. Errors:
// INVALID_ARGUMENT naming `field` and the entry's position.
inline constexpr std::string_view kCausalLmJudge = "causal_lm";
inline constexpr std::string_view kRefusalJudge = "refusal";
absl::StatusOr<std::string> CheckRules(const std::string& json, const std::string& field);

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_SAFETY_SUITE_CHECK_H_
