// The rules of a chat row over simdjson's tree, shared by the validator and the worker.
//
// Internal to formats/.
// Thread safety: one parser belongs to one thread at a time.
#ifndef WARDTUNE_FORMATS_CHAT_ROW_PARSER_H_
#define WARDTUNE_FORMATS_CHAT_ROW_PARSER_H_

#include <simdjson.h>

#include <optional>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "formats/chat_row.h"
#include "formats/json_scanner.h"

namespace wardtune {

class ChatRowParser {
 public:
  // Gets each message of a row in order; `content` lives until the next call of Parse.
  using MessageSink = absl::FunctionRef<void(Role role, std::string_view content, bool supervised)>;

  explicit ChatRowParser(const ChatRowLimits& limits);

  // Checks one line and hands its messages to `sink`; messages may have been handed out when a
  // fault is returned. REQUIRES: simdjson::SIMDJSON_PADDING bytes behind `line` are readable.
  std::optional<JsonFault> Parse(std::string_view line, MessageSink sink);

 private:
  // A fault in the tree, by its place there.
  struct TreeFault {
    JsonPath path;
    bool key = false;
    JsonlErrorCode code = JsonlErrorCode::kInvalidJson;
    std::string reason;
  };

  std::optional<TreeFault> CheckRow(simdjson::dom::element root, MessageSink sink);
  std::optional<TreeFault> CheckMessages(simdjson::dom::element value, size_t ordinal,
                                         MessageSink sink);
  std::optional<TreeFault> CheckMessage(simdjson::dom::element value, JsonPath path,
                                        MessageSink sink, bool& assistant);
  std::optional<TreeFault> CheckPair(simdjson::dom::element prompt, size_t prompt_ordinal,
                                     simdjson::dom::element completion, size_t completion_ordinal,
                                     MessageSink sink);
  std::optional<TreeFault> CheckText(Role role, std::string_view text, JsonPath path) const;
  JsonFault Locate(std::string_view line, TreeFault fault) const;
  JsonFault Explain(std::string_view line, simdjson::error_code error) const;

  ChatRowLimits limits_;
  simdjson::dom::parser parser_;
  bool capacity_ready_ = false;
};

}  // namespace wardtune

#endif  // WARDTUNE_FORMATS_CHAT_ROW_PARSER_H_
