// Keeps customers' text apart from the template's control tokens, and finds the assistant's answers
// in the rendered text.
//
// A chat template is a program that mixes both. Before it runs, a guard character is put into every
// place of a message that spells a control token, or could complete one together with the
// template's text; after it ran, a control token without guard is the template's own. Marks around
// assistant messages show where they went. Guard and marks are Unicode noncharacters that the row
// itself does not use, and are gone before anything is encoded.
// Internal to formats/.
// Thread safety: re-entrant functions.
#ifndef WARDTUNE_FORMATS_CHAT_ENCODING_H_
#define WARDTUNE_FORMATS_CHAT_ENCODING_H_

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/chat_row.h"

namespace wardtune {

// Three noncharacters (U+FDD0 to U+FDEF) that occur in no message.
struct ReservedCharacters {
  char32_t guard = 0;
  char32_t begin = 0;
  char32_t end = 0;
};

// Errors: INVALID_ARGUMENT when the messages use up the noncharacters.
absl::StatusOr<ReservedCharacters> PickReserved(const std::vector<Message>& messages);

std::string Utf8Of(char32_t character);

// The text with `guard` inside each full spelling of a control token, and inside the start or end
// of the text (white space aside) where it could be part of one.
std::string GuardText(std::string_view text, const std::vector<std::string>& control_tokens,
                      std::string_view guard);

// Bytes [begin, end) of the rendered text without guards.
struct TextSpan {
  size_t begin = 0;
  size_t end = 0;

  bool operator==(const TextSpan&) const = default;
};

struct RenderedChat {
  std::string text;  // with guards
  char32_t guard = 0;
  std::vector<TextSpan>
      answers;  // of the supervised messages, the token that ends the turn included
};

// What RenderAnswers needs to know about a model.
struct TemplateFacts {
  std::vector<std::string> control_tokens;
  // What add_generation_prompt appends; may be empty.
  std::string generation_prompt;
  // The BOS where it is not also an EOS: it begins the next turn and ends none.
  std::string bos;
  std::function<absl::StatusOr<std::string>(const std::vector<Message>&)> render;
};

// An answer begins where generation would: behind the last generation prompt in front of it, or at
// the message's own text where the template has no such prompt. It ends behind the control token
// that directly follows the message, or at the message's end when there is none.
// Errors: those of `render`; FAILED_PRECONDITION when the template rewrites assistant messages so
// that their place cannot be known.
absl::StatusOr<RenderedChat> RenderAnswers(const std::vector<Message>& messages,
                                           const TemplateFacts& facts);

}  // namespace wardtune

#endif  // WARDTUNE_FORMATS_CHAT_ENCODING_H_
