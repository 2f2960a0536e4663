#include "formats/chat_row.h"

#include <simdjson.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "formats/chat_row_parser.h"
#include "formats/json_text.h"

namespace wardtune {

std::string_view RoleName(Role role) {
  switch (role) {
    case Role::kSystem:
      return "system";
    case Role::kUser:
      return "user";
    case Role::kAssistant:
      return "assistant";
    case Role::kTool:
      return "tool";
  }
  return "";
}

absl::StatusOr<ChatRow> ParseChatRow(std::string_view line, const ChatRowLimits& limits) {
  // The parser reads a few bytes behind the line.
  std::string padded;
  padded.reserve(line.size() + simdjson::SIMDJSON_PADDING);
  padded.assign(line);
  ChatRow row;
  ChatRowParser parser(limits);
  const auto fault =
      parser.Parse(padded, [&row](Role role, std::string_view content, bool supervised) {
        row.messages.push_back({role, std::string(content), supervised});
      });
  if (fault) {
    return absl::InvalidArgumentError(
        absl::StrCat("column ", fault->offset + 1, ": ", fault->reason, " (",
                     std::string(JsonlErrorCodeName(fault->code)), ")"));
  }
  return row;
}

std::string WriteChatRow(std::string_view prompt, std::string_view answer,
                         std::string_view category) {
  return absl::StrCat(R"({"messages":[{"role":"user","content":)", JsonString(prompt),
                      R"(},{"role":"assistant","content":)", JsonString(answer),
                      R"(}],"category":)", JsonString(category), "}");
}

}  // namespace wardtune
