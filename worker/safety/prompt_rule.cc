#include "worker/safety/prompt_rule.h"

#include <re2/re2.h>

#include "absl/strings/str_cat.h"

namespace wardtune {

absl::StatusOr<bool> MatchesOwnRule(const Exchange& exchange) {
  const re2::RE2 rule(exchange.rule, re2::RE2::Quiet);
  if (!rule.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("a prompt's rule is no regular expression: ", rule.error()));
  }
  return RE2::PartialMatch(exchange.answer, rule);
}

}  // namespace wardtune
