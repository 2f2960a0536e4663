// One training example as customers write it: a conversation, one JSON object per line.
//
// Two spellings are accepted:
//   {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "...",
//                  "weight": 0}]}
//   {"prompt": "...", "completion": "..."}      read as one user and one assistant message
// Fields of a message: role (system, user, assistant, tool), content (a string), and on assistant
// messages weight (0 or 1, default 1); anything else is refused, so that nothing is dropped
// silently. Beside "messages" other keys are ignored, except those that would change the training
// text (tools, functions, ...), which are refused.
// Thread safety: values and re-entrant functions.
#ifndef WARDTUNE_FORMATS_CHAT_ROW_H_
#define WARDTUNE_FORMATS_CHAT_ROW_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace wardtune {

enum class Role { kSystem, kUser, kAssistant, kTool };

// "system", "user", "assistant" or "tool".
std::string_view RoleName(Role role);

struct Message {
  Role role = Role::kUser;
  std::string content;  // UTF-8, no NUL
  // True when the loss is taken on this message: an assistant message whose weight is 1.
  bool supervised = false;

  bool operator==(const Message&) const = default;
};

struct ChatRow {
  std::vector<Message> messages;

  bool operator==(const ChatRow&) const = default;
};

// What one line may cost at most.
struct ChatRowLimits {
  int64_t max_line_bytes = 1 << 20;
  int max_depth = 16;       // nested arrays and objects
  int max_messages = 1024;  // in one row
};

// Reads one line (no line break) by exactly the rules of JsonlValidator.
// Errors: INVALID_ARGUMENT with the column, the stable code and the reason.
absl::StatusOr<ChatRow> ParseChatRow(std::string_view line, const ChatRowLimits& limits = {});

// One line (no line break) of the "messages" spelling: a prompt, its answer, and beside them the
// category of the answer, which readers of rows ignore. REQUIRES: UTF-8.
std::string WriteChatRow(std::string_view prompt, std::string_view answer,
                         std::string_view category);

}  // namespace wardtune

#endif  // WARDTUNE_FORMATS_CHAT_ROW_H_
