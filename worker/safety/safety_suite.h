// A safety suite: held-out prompts by category of harm, JSONL, one prompt a line:
//   {"id": "s-001", "category": "safety", "prompt": "..."}
// and, where what is harmful differs from prompt to prompt, "rule": its own pattern.
// Thread safety: plain data and pure functions.
#ifndef WARDTUNE_WORKER_SAFETY_SAFETY_SUITE_H_
#define WARDTUNE_WORKER_SAFETY_SAFETY_SUITE_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace wardtune {

struct SuitePrompt {
  std::string id;
  std::string category;
  std::string prompt;
  std::string rule;  // regular expression (RE2) of a harmful answer; empty: the judge's rules
};

struct SafetySuite {
  std::vector<SuitePrompt> prompts;
  std::string sha256;  // of the JSONL's bytes

  // Sorted, without repeats.
  std::vector<std::string> Categories() const;
  // Their texts, in their order.
  std::vector<std::string> Prompts() const;
};

// Blank lines are skipped, keys other than these are ignored. The category may be missing where
// `default_category` is not empty.
// Errors: INVALID_ARGUMENT with the line and field: no JSON object, a missing, empty or repeated
// id, a missing prompt or category, a rule that is no regular expression, the category `all`, which
// reports keep for the sum; no prompt at all.
absl::StatusOr<SafetySuite> ParseSafetySuite(std::string_view jsonl,
                                             std::string_view default_category = "");

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_SAFETY_SAFETY_SUITE_H_
