// Finds the place of a fault in one line of JSON.
//
// simdjson decides whether a line is JSON, but its tree interface does not say where it stopped.
// This scanner runs over refused lines only, to give the customer a column; it never changes a
// verdict.
// Thread safety: re-entrant functions.
#ifndef WARDTUNE_FORMATS_JSON_SCANNER_H_
#define WARDTUNE_FORMATS_JSON_SCANNER_H_

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/jsonl_validator.h"

namespace wardtune {

struct JsonFault {
  size_t offset = 0;  // 0-based byte of the line
  JsonlErrorCode code = JsonlErrorCode::kInvalidJson;
  std::string reason;
};

// The way to a value: at each level the ordinal of the child, members of objects counted as they
// stand, repeated keys included.
using JsonPath = std::vector<size_t>;

// The first offset that is not UTF-8, if any.
std::optional<size_t> FirstInvalidUtf8(std::string_view text);

// The first break of the grammar (RFC 8259), of `max_depth`, or of a number's range.
std::optional<JsonFault> FindJsonFault(std::string_view line, int max_depth);

// The offset of the value at `path`, or of its key when it is a member and `key` is set.
// REQUIRES: `line` is JSON. Returns 0 when there is no such value.
size_t OffsetOf(std::string_view line, const JsonPath& path, bool key);

}  // namespace wardtune

#endif  // WARDTUNE_FORMATS_JSON_SCANNER_H_
