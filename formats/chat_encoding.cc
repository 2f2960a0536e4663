#include "formats/chat_encoding.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace wardtune {
namespace {

constexpr char32_t kFirstNoncharacter = 0xFDD0;
constexpr char32_t kLastNoncharacter = 0xFDEF;
constexpr std::string_view kSpace = " \t\r\n\v\f";

// Bytes of the first character. REQUIRES: UTF-8, not empty.
size_t FirstCharacterBytes(std::string_view text) {
  const auto byte = static_cast<unsigned char>(text.front());
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

std::string Without(std::string_view text, std::string_view character) {
  std::string result;
  while (true) {
    const size_t found = text.find(character);
    result.append(text.substr(0, found));
    if (found == std::string_view::npos) return result;
    text.remove_prefix(found + character.size());
  }
}

std::string_view Stripped(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

// How marks are put around an assistant message. A template may strip the text or cut its front
// off; the first way that leaves the rendered text unchanged is taken.
struct Marking {
  bool strip = false;
  bool mark_begin = true;
};
constexpr Marking kMarkings[] = {{false, true}, {true, true}, {false, false}, {true, false}};

std::vector<Message> Marked(const std::vector<Message>& guarded, Marking way,
                            const std::string& begin, const std::string& end) {
  std::vector<Message> marked = guarded;
  for (Message& message : marked) {
    if (message.role != Role::kAssistant) continue;
    const std::string body(way.strip ? Stripped(message.content) : message.content);
    message.content = absl::StrCat(way.mark_begin ? begin : "", body, end);
  }
  return marked;
}

// The marked text's assistant messages, as offsets into the text without marks and guards.
struct Place {
  std::optional<size_t> begin;
  size_t end = 0;
};

struct Places {
  std::string text;  // without marks and guards
  std::vector<Place> places;
};

Places FindPlaces(std::string_view marked, std::string_view begin, std::string_view end,
                  std::string_view guard) {
  Places result;
  std::optional<size_t> open;
  for (size_t i = 0; i < marked.size();) {
    const std::string_view rest = marked.substr(i);
    if (rest.starts_with(begin)) {
      open = result.text.size();
      i += begin.size();
    } else if (rest.starts_with(end)) {
      result.places.push_back({open, result.text.size()});
      open.reset();
      i += end.size();
    } else if (rest.starts_with(guard)) {
      i += guard.size();
    } else {
      result.text.push_back(marked[i++]);
    }
  }
  return result;
}

// Extends the end over white space and one control token, when that follows at once.
size_t TurnEnd(std::string_view text, size_t end, const TemplateFacts& facts) {
  const size_t next = text.find_first_not_of(kSpace, end);
  if (next == std::string_view::npos) return end;
  size_t longest = 0;
  for (const std::string& token : facts.control_tokens) {
    if (token != facts.bos && text.substr(next).starts_with(token)) {
      longest = std::max(longest, token.size());
    }
  }
  return longest == 0 ? end : next + longest;
}

// Where generation of this answer would start.
std::optional<size_t> TurnBegin(std::string_view text, const Place& place, size_t previous_end,
                                const TemplateFacts& facts) {
  const std::string& prompt = facts.generation_prompt;
  if (!prompt.empty()) {
    const std::string_view before = text.substr(0, place.begin.value_or(place.end));
    const size_t found = before.rfind(prompt);
    if (found != std::string_view::npos && found >= previous_end) return found + prompt.size();
  }
  return place.begin;
}

}  // namespace

absl::StatusOr<ReservedCharacters> PickReserved(const std::vector<Message>& messages) {
  std::vector<char32_t> free;
  for (char32_t c = kFirstNoncharacter; c <= kLastNoncharacter && free.size() < 3; ++c) {
    const std::string text = Utf8Of(c);
    const bool used = std::any_of(messages.begin(), messages.end(), [&](const Message& message) {
      return message.content.find(text) != std::string::npos;
    });
    if (!used) free.push_back(c);
  }
  if (free.size() < 3) {
    return absl::InvalidArgumentError(
        "the messages use nearly all of the noncharacters U+FDD0 to U+FDEF; remove them");
  }
  return ReservedCharacters{free[0], free[1], free[2]};
}

// REQUIRES: three bytes in UTF-8, as all noncharacters used here.
std::string Utf8Of(char32_t character) {
  return {static_cast<char>(0xE0 | (character >> 12)),
          static_cast<char>(0x80 | ((character >> 6) & 0x3F)),
          static_cast<char>(0x80 | (character & 0x3F))};
}

std::string GuardText(std::string_view text, const std::vector<std::string>& control_tokens,
                      std::string_view guard) {
  // Offsets that get a guard in front.
  std::set<size_t> guards;
  const std::string_view inner = Stripped(text);
  const size_t inner_begin = inner.empty() ? 0 : static_cast<size_t>(inner.data() - text.data());
  const size_t inner_end = inner_begin + inner.size();
  for (const std::string& token : control_tokens) {
    const size_t first = FirstCharacterBytes(token);
    for (size_t at = text.find(token); at != std::string_view::npos;
         at = text.find(token, at + 1)) {
      guards.insert(at + first);
    }
    for (size_t length = 1; length < token.size(); ++length) {
      const std::string_view head = std::string_view(token).substr(0, length);
      const std::string_view tail = std::string_view(token).substr(length);
      if (length >= first && inner.ends_with(head)) guards.insert(inner_end - length + first);
      if (length >= first && text.ends_with(head)) guards.insert(text.size() - length + first);
      // In front of the text is enough to part it from the template's characters.
      if (inner.starts_with(tail)) guards.insert(inner_begin);
      if (text.starts_with(tail)) guards.insert(0);
    }
  }
  if (guards.empty()) return std::string(text);
  std::string result;
  size_t position = 0;
  for (const size_t at : guards) {
    result.append(text.substr(position, at - position)).append(guard);
    position = at;
  }
  return result.append(text.substr(position));
}

absl::StatusOr<RenderedChat> RenderAnswers(const std::vector<Message>& messages,
                                           const TemplateFacts& facts) {
  WT_ASSIGN_OR_RETURN(const ReservedCharacters reserved, PickReserved(messages));
  const std::string begin = Utf8Of(reserved.begin);
  const std::string end = Utf8Of(reserved.end);
  RenderedChat chat;
  chat.guard = reserved.guard;
  const std::string guard = Utf8Of(reserved.guard);
  std::vector<Message> guarded = messages;
  std::vector<bool> supervised;
  for (Message& message : guarded) {
    message.content = GuardText(message.content, facts.control_tokens, guard);
    if (message.role == Role::kAssistant) supervised.push_back(message.supervised);
  }
  WT_ASSIGN_OR_RETURN(chat.text, facts.render(guarded));
  const std::string clean = Without(chat.text, guard);

  for (const Marking way : kMarkings) {
    auto marked = facts.render(Marked(guarded, way, begin, end));
    if (!marked.ok()) continue;
    const Places found = FindPlaces(*marked, begin, end, guard);
    if (found.text != clean || found.places.size() != supervised.size()) continue;
    size_t previous_end = 0;
    bool complete = true;
    std::vector<TextSpan> answers;
    for (size_t i = 0; i < found.places.size() && complete; ++i) {
      const auto turn_begin = TurnBegin(clean, found.places[i], previous_end, facts);
      complete = turn_begin.has_value();
      const size_t turn_end = TurnEnd(clean, found.places[i].end, facts);
      if (complete && supervised[i]) answers.push_back({*turn_begin, turn_end});
      previous_end = turn_end;
    }
    if (!complete) continue;
    chat.answers = std::move(answers);
    return chat;
  }
  return absl::FailedPreconditionError(
      "the chat template rewrites assistant messages in a way that leaves their place in the text "
      "unknown; use a template that writes them as they are");
}

}  // namespace wardtune
