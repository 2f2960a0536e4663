// Checks a safety suite before it is stored: prompts (JSONL), the judge's rules (JSON) and general
// prompts (JSONL), by the rules of the worker that will read them.
// Thread safety: re-entrant functions.
#ifndef WARDTUNE_SERVER_SAFETY_SUITE_CHECK_H_
#define WARDTUNE_SERVER_SAFETY_SUITE_CHECK_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace wardtune {

// Returns the number of prompts by category. Each line is an object with the non-empty strings
// `id` (unique), `category` (may be missing where `category_required` is false) and `prompt`.
// Errors: INVALID_ARGUMENT naming `field`, line and key.
absl::StatusOr<std::map<std::string, int32_t>> CheckPrompts(const std::string& jsonl,
                                                            const std::string& field,
                                                            bool category_required);

// {"version": 1, "harmful_patterns": [RE2 pattern, ...]}.
// Errors: INVALID_ARGUMENT naming `field` and the pattern's position.
absl::Status CheckRules(const std::string& json, const std::string& field);

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_SAFETY_SUITE_CHECK_H_
