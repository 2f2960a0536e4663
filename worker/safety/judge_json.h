// What the rules of all judges share: a JSON object of version 1 that names its judge.
// Thread safety: pure functions; a JudgeJson belongs to one thread.
#ifndef WARDTUNE_WORKER_SAFETY_JUDGE_JSON_H_
#define WARDTUNE_WORKER_SAFETY_JUDGE_JSON_H_

#include <simdjson.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace wardtune {

struct JudgeJson {
  std::unique_ptr<simdjson::dom::parser> parser;  // owns what `object` points to
  simdjson::dom::object object;
  std::string judge;  // `rule` when the rules name none

  // Errors: INVALID_ARGUMENT unless `key` is a text that is not empty.
  absl::StatusOr<std::string> Text(const char* key) const;
  // Errors: INVALID_ARGUMENT unless `key` is a list of such texts with at least one; an entry is
  // named by its position.
  absl::StatusOr<std::vector<std::string>> Texts(const char* key) const;
};

// Errors: INVALID_ARGUMENT for what is no JSON object, another version than 1, or a `judge` that is
// no text.
absl::StatusOr<JudgeJson> ReadJudgeJson(std::string_view rules_json);
// The same, and INVALID_ARGUMENT when the rules are another judge's.
absl::StatusOr<JudgeJson> ReadJudgeJson(std::string_view rules_json, std::string_view judge);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_SAFETY_JUDGE_JSON_H_
