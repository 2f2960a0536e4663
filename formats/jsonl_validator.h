// Checks a JSONL data set (RFC 8259 objects, one a line) while its bytes arrive.
//
//   JsonlValidator validator(options);
//   while (chunk = Next()) validator.Feed(chunk);
//   JsonlReport report = validator.Finish();
//
// The report depends on the bytes alone, never on how they were cut into chunks. Memory stays below
// a small multiple of the line cap, whatever the input. Lines end with LF or CRLF; the last one may
// lack its line break; lines of only spaces and tabs are skipped. A byte order mark is refused:
// what the hash covers and what is parsed are the same bytes. Thread safety: one object belongs to
// one thread at a time.
#ifndef WARDTUNE_FORMATS_JSONL_VALIDATOR_H_
#define WARDTUNE_FORMATS_JSONL_VALIDATOR_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "formats/chat_row.h"

namespace wardtune {

// Stable: clients may switch on the names (JsonlErrorCodeName), new codes are appended.
enum class JsonlErrorCode {
  kInvalidJson,       // invalid_json: not one JSON value
  kInvalidUtf8,       // invalid_utf8: broken UTF-8, or an escaped lone surrogate
  kByteOrderMark,     // byte_order_mark: the line starts with U+FEFF
  kLineTooLong,       // line_too_long
  kTooDeep,           // too_deep: more nested arrays or objects than allowed
  kNumberOutOfRange,  // number_out_of_range: does not fit a double, as 1e400
  kDuplicateKey,      // duplicate_key: one object holds a key twice
  kNotAnObject,       // not_an_object: the line's value is not an object
  kMissingField,      // missing_field
  kUnknownField,      // unknown_field: would be ignored where that would change the training
  kWrongType,         // wrong_type
  kUnknownRole,       // unknown_role
  kBadWeight,         // bad_weight: weight is neither 0 nor 1, or stands on another role
  kNoMessages,        // no_messages: "messages" is empty
  kTooManyMessages,   // too_many_messages
  kNoAssistantTurn,   // no_assistant_turn: nothing to learn from
  kEmptyAssistant,    // empty_assistant: an assistant message without visible text
  kNulCharacter,      // nul_character: U+0000 in a text
  kTooManyRows,       // too_many_rows
  kTooManyBytes,      // too_many_bytes
  kNoUsableRow,       // no_usable_row: no row of the data set has supervised text
};

// "invalid_json" and so on.
std::string_view JsonlErrorCodeName(JsonlErrorCode code);

struct JsonlError {
  int64_t line = 0;    // 1-based, blank lines count; 0: about the whole data set
  int64_t column = 0;  // 1-based byte of the line
  JsonlErrorCode code = JsonlErrorCode::kInvalidJson;
  // What is wrong and what to do. Quotes no text of the customer but field names and roles, cut to
  // a few characters.
  std::string reason;

  bool operator==(const JsonlError&) const = default;
};

struct JsonlOptions {
  ChatRowLimits row;
  int64_t max_rows = 1'000'000;
  int64_t max_bytes = int64_t{1} << 30;
  // The first errors are kept, at most one a line; then reading stops.
  int max_errors = 20;
  // How many line numbers of rows without supervised text are kept.
  int max_unsupervised_lines = 20;
  // Off where the caller hashes the stream itself.
  bool compute_sha256 = true;
};

struct JsonlReport {
  // Errors in the order of the file. The data set is usable when there are none.
  std::vector<JsonlError> errors;
  // True when reading stopped early (max_errors, max_rows, max_bytes or a line of 16 times the line
  // cap); the counts below then cover the part before, except bytes and sha256.
  bool truncated = false;

  int64_t rows = 0;              // valid rows
  int64_t messages = 0;          // in valid rows
  int64_t assistant_turns = 0;   // in valid rows
  int64_t supervised_turns = 0;  // assistant turns of weight 1
  int64_t blank_lines = 0;
  int64_t longest_line_bytes = 0;  // of valid rows
  int64_t bytes = 0;               // everything that was fed
  std::string sha256;              // of everything that was fed; empty when not computed
  // Valid rows in which every assistant turn has weight 0: they train nothing.
  int64_t unsupervised_rows = 0;
  std::vector<int64_t> unsupervised_lines;  // the first line numbers of those

  bool ok() const { return errors.empty(); }
  // OK, or INVALID_ARGUMENT with the first error and the number of the others.
  absl::Status ToStatus() const;
  bool operator==(const JsonlReport&) const = default;
};

class JsonlValidator {
 public:
  explicit JsonlValidator(JsonlOptions options = {});
  ~JsonlValidator();
  JsonlValidator(JsonlValidator&&) noexcept;
  JsonlValidator& operator=(JsonlValidator&&) noexcept;

  // Takes the next bytes; `chunk` need not outlive the call. REQUIRES: Finish() was not called.
  void Feed(std::string_view chunk);

  // True once no further byte can change the errors: the caller may end the upload here.
  bool stopped() const;
  // True when at least one error was found so far.
  bool failed() const;

  // Ends the last line and returns the verdict. REQUIRES: not called before.
  JsonlReport Finish();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace wardtune

#endif  // WARDTUNE_FORMATS_JSONL_VALIDATOR_H_
