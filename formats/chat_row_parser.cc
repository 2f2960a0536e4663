#include "formats/chat_row_parser.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace wardtune {
namespace {

using simdjson::dom::element;
using simdjson::dom::element_type;

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// Beside "messages" these would change the text a model is trained on.
constexpr std::array<std::string_view, 4> kUnsupportedRowKeys = {
    "tools", "functions", "parallel_tool_calls", "documents"};

std::optional<Role> RoleFromName(std::string_view name) {
  for (Role role : {Role::kSystem, Role::kUser, Role::kAssistant, Role::kTool}) {
    if (name == RoleName(role)) return role;
  }
  return std::nullopt;
}

std::string_view TypeName(element value) {
  switch (value.type()) {
    case element_type::ARRAY:
      return "an array";
    case element_type::OBJECT:
      return "an object";
    case element_type::STRING:
      return "a string";
    case element_type::BOOL:
      return "a boolean";
    case element_type::NULL_VALUE:
      return "null";
    default:
      return "a number";
  }
}

// A field name or role for a message: short, and without characters that break a log line.
std::string Quoted(std::string_view text) {
  std::string shown;
  for (char c : text.substr(0, 24)) shown.push_back(c >= ' ' && c <= '~' ? c : '?');
  return absl::StrCat("\"", shown, text.size() > 24 ? "...\"" : "\"");
}

bool IsBlank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n\v\f") == std::string_view::npos;
}

// The ordinal of the first key that occurred before, if any.
std::optional<size_t> RepeatedKey(simdjson::dom::object object) {
  constexpr size_t kFewKeys = 8;
  std::array<std::string_view, kFewKeys> few;
  std::set<std::string_view> many;
  size_t count = 0;
  for (auto [key, value] : object) {
    if (count < kFewKeys) {
      if (std::find(few.begin(), few.begin() + count, key) != few.begin() + count) return count;
      few[count] = key;
    } else {
      if (count == kFewKeys) many.insert(few.begin(), few.end());
      if (!many.insert(key).second) return count;
    }
    ++count;
  }
  return std::nullopt;
}

// Looks for a repeated key at any depth; fills `path` up to it.
bool HasRepeatedKey(element value, JsonPath& path) {
  if (value.is_object()) {
    const simdjson::dom::object object = value.get_object().value_unsafe();
    if (const auto repeated = RepeatedKey(object)) {
      path.push_back(*repeated);
      return true;
    }
    size_t child = 0;
    for (auto [key, member] : object) {
      path.push_back(child++);
      if (HasRepeatedKey(member, path)) return true;
      path.pop_back();
    }
  } else if (value.is_array()) {
    size_t child = 0;
    for (element item : simdjson::dom::array(value.get_array().value_unsafe())) {
      path.push_back(child++);
      if (HasRepeatedKey(item, path)) return true;
      path.pop_back();
    }
  }
  return false;
}

JsonPath Extended(JsonPath path, size_t child) {
  path.push_back(child);
  return path;
}

struct Member {
  element value;
  size_t ordinal = 0;
};

}  // namespace

ChatRowParser::ChatRowParser(const ChatRowLimits& limits) : limits_(limits) {}

std::optional<JsonFault> ChatRowParser::Parse(std::string_view line, MessageSink sink) {
  if (static_cast<int64_t>(line.size()) > limits_.max_line_bytes) {
    return JsonFault{static_cast<size_t>(limits_.max_line_bytes), JsonlErrorCode::kLineTooLong,
                     absl::StrCat("the line is longer than ", limits_.max_line_bytes, " bytes")};
  }
  if (line.substr(0, kByteOrderMark.size()) == kByteOrderMark) {
    return JsonFault{0, JsonlErrorCode::kByteOrderMark,
                     "the line starts with a byte order mark; save the file as UTF-8 without it"};
  }
  if (!capacity_ready_) {
    if (const auto error =
            parser_.allocate(static_cast<size_t>(limits_.max_line_bytes), limits_.max_depth)) {
      return JsonFault{0, JsonlErrorCode::kInvalidJson, simdjson::error_message(error)};
    }
    capacity_ready_ = true;
  }
  const simdjson::simdjson_result<element> root = parser_.parse(
      reinterpret_cast<const uint8_t*>(line.data()), line.size(), /*realloc_if_needed=*/false);
  if (root.error() != simdjson::SUCCESS) return Explain(line, root.error());
  if (auto fault = CheckRow(root.value_unsafe(), sink)) return Locate(line, std::move(*fault));
  return std::nullopt;
}

// simdjson refused the line: the scanner says where, simdjson's word is final.
JsonFault ChatRowParser::Explain(std::string_view line, simdjson::error_code error) const {
  if (const auto offset = FirstInvalidUtf8(line)) {
    return {*offset, JsonlErrorCode::kInvalidUtf8, "the bytes here are not UTF-8"};
  }
  if (auto fault = FindJsonFault(line, limits_.max_depth)) return std::move(*fault);
  return {0, JsonlErrorCode::kInvalidJson, simdjson::error_message(error)};
}

JsonFault ChatRowParser::Locate(std::string_view line, TreeFault fault) const {
  return {OffsetOf(line, fault.path, fault.key), fault.code, std::move(fault.reason)};
}

std::optional<ChatRowParser::TreeFault> ChatRowParser::CheckRow(element root, MessageSink sink) {
  if (!root.is_object()) {
    return TreeFault{{},
                     false,
                     JsonlErrorCode::kNotAnObject,
                     absl::StrCat("a row must be an object, not ", std::string(TypeName(root)))};
  }
  JsonPath repeated;
  if (HasRepeatedKey(root, repeated)) {
    return TreeFault{std::move(repeated), true, JsonlErrorCode::kDuplicateKey,
                     "this key stands twice in one object"};
  }
  std::optional<Member> messages, prompt, completion;
  size_t ordinal = 0;
  for (auto [key, value] : simdjson::dom::object(root.get_object().value_unsafe())) {
    const Member member{value, ordinal};
    if (key == "messages") messages = member;
    if (key == "prompt") prompt = member;
    if (key == "completion") completion = member;
    if (std::find(kUnsupportedRowKeys.begin(), kUnsupportedRowKeys.end(), key) !=
        kUnsupportedRowKeys.end()) {
      return TreeFault{{ordinal},
                       true,
                       JsonlErrorCode::kUnknownField,
                       absl::StrCat("field ", Quoted(key), " is not supported; remove it")};
    }
    ++ordinal;
  }
  if (messages && (prompt || completion)) {
    return TreeFault{{(prompt ? prompt : completion)->ordinal},
                     true,
                     JsonlErrorCode::kUnknownField,
                     "a row has either \"messages\" or \"prompt\" and \"completion\""};
  }
  if (messages) return CheckMessages(messages->value, messages->ordinal, sink);
  if (prompt && completion) {
    return CheckPair(prompt->value, prompt->ordinal, completion->value, completion->ordinal, sink);
  }
  std::string reason = "the row needs \"messages\", or \"prompt\" and \"completion\"";
  if (prompt) reason = "the row has \"prompt\" but no \"completion\"";
  if (completion) reason = "the row has \"completion\" but no \"prompt\"";
  return TreeFault{{}, false, JsonlErrorCode::kMissingField, std::move(reason)};
}

std::optional<ChatRowParser::TreeFault> ChatRowParser::CheckMessages(element value, size_t ordinal,
                                                                     MessageSink sink) {
  if (!value.is_array()) {
    return TreeFault{
        {ordinal},
        false,
        JsonlErrorCode::kWrongType,
        absl::StrCat("\"messages\" must be an array, not ", std::string(TypeName(value)))};
  }
  size_t count = 0;
  bool assistant = false;
  for (element message : simdjson::dom::array(value.get_array().value_unsafe())) {
    if (count >= static_cast<size_t>(limits_.max_messages)) {
      return TreeFault{{ordinal, count},
                       false,
                       JsonlErrorCode::kTooManyMessages,
                       absl::StrCat("more than ", limits_.max_messages, " messages in one row")};
    }
    if (auto fault = CheckMessage(message, {ordinal, count}, sink, assistant)) return fault;
    ++count;
  }
  if (count == 0) {
    return TreeFault{{ordinal}, false, JsonlErrorCode::kNoMessages, "\"messages\" is empty"};
  }
  if (!assistant) {
    return TreeFault{{ordinal},
                     false,
                     JsonlErrorCode::kNoAssistantTurn,
                     "no message has the role \"assistant\": there is nothing to learn from"};
  }
  return std::nullopt;
}

std::optional<ChatRowParser::TreeFault> ChatRowParser::CheckMessage(element value, JsonPath path,
                                                                    MessageSink sink,
                                                                    bool& assistant) {
  if (!value.is_object()) {
    return TreeFault{
        std::move(path), false, JsonlErrorCode::kWrongType,
        absl::StrCat("a message must be an object, not ", std::string(TypeName(value)))};
  }
  std::optional<Member> role_member, content_member, weight_member;
  size_t ordinal = 0;
  for (auto [key, field] : simdjson::dom::object(value.get_object().value_unsafe())) {
    const Member member{field, ordinal};
    if (key == "role") {
      role_member = member;
    } else if (key == "content") {
      content_member = member;
    } else if (key == "weight") {
      weight_member = member;
    } else {
      return TreeFault{Extended(std::move(path), ordinal), true, JsonlErrorCode::kUnknownField,
                       absl::StrCat("a message has role, content and weight, not ", Quoted(key))};
    }
    ++ordinal;
  }
  if (!role_member || !content_member) {
    return TreeFault{std::move(path), false, JsonlErrorCode::kMissingField,
                     absl::StrCat("the message has no \"", role_member ? "content" : "role", "\"")};
  }
  for (const Member* member : {&*role_member, &*content_member}) {
    if (member->value.is_string()) continue;
    return TreeFault{
        Extended(std::move(path), member->ordinal), false, JsonlErrorCode::kWrongType,
        absl::StrCat("\"", member == &*role_member ? "role" : "content",
                     "\" must be a string, not ", std::string(TypeName(member->value)))};
  }
  const std::string_view role_name = role_member->value.get_string().value_unsafe();
  const std::optional<Role> role = RoleFromName(role_name);
  if (!role) {
    return TreeFault{
        Extended(std::move(path), role_member->ordinal), false, JsonlErrorCode::kUnknownRole,
        absl::StrCat("role ", Quoted(role_name), " is not one of system, user, assistant, tool")};
  }
  bool supervised = *role == Role::kAssistant;
  if (weight_member) {
    int64_t weight = -1;
    const bool integer = weight_member->value.get(weight) == simdjson::SUCCESS;
    if (*role != Role::kAssistant || !integer || (weight != 0 && weight != 1)) {
      return TreeFault{Extended(std::move(path), weight_member->ordinal), false,
                       JsonlErrorCode::kBadWeight,
                       "\"weight\" must be 0 or 1 and stands on assistant messages only"};
    }
    supervised = weight == 1;
  }
  const std::string_view content = content_member->value.get_string().value_unsafe();
  if (auto fault = CheckText(*role, content, Extended(std::move(path), content_member->ordinal))) {
    return fault;
  }
  assistant |= *role == Role::kAssistant;
  sink(*role, content, supervised);
  return std::nullopt;
}

std::optional<ChatRowParser::TreeFault> ChatRowParser::CheckPair(element prompt,
                                                                 size_t prompt_ordinal,
                                                                 element completion,
                                                                 size_t completion_ordinal,
                                                                 MessageSink sink) {
  std::string_view texts[2];
  for (int i = 0; i < 2; ++i) {
    const element value = i == 0 ? prompt : completion;
    const size_t ordinal = i == 0 ? prompt_ordinal : completion_ordinal;
    if (value.get(texts[i]) != simdjson::SUCCESS) {
      return TreeFault{{ordinal},
                       false,
                       JsonlErrorCode::kWrongType,
                       absl::StrCat("\"", i == 0 ? "prompt" : "completion",
                                    "\" must be a string, not ", std::string(TypeName(value)))};
    }
    const Role role = i == 0 ? Role::kUser : Role::kAssistant;
    if (auto fault = CheckText(role, texts[i], {ordinal})) return fault;
  }
  sink(Role::kUser, texts[0], false);
  sink(Role::kAssistant, texts[1], true);
  return std::nullopt;
}

std::optional<ChatRowParser::TreeFault> ChatRowParser::CheckText(Role role, std::string_view text,
                                                                 JsonPath path) const {
  if (text.find('\0') != std::string_view::npos) {
    return TreeFault{std::move(path), false, JsonlErrorCode::kNulCharacter,
                     "the text contains the character U+0000"};
  }
  if (role == Role::kAssistant && IsBlank(text)) {
    return TreeFault{std::move(path), false, JsonlErrorCode::kEmptyAssistant,
                     "the assistant's text is empty"};
  }
  return std::nullopt;
}

}  // namespace wardtune
