#include "formats/json_scanner.h"

#include <simdjson.h>

#include <cstdint>

#include "absl/strings/str_cat.h"

namespace wardtune {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

int HexValue(char c) {
  if (IsDigit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// A strict scan without recursion: the stack is a vector of at most max_depth levels.
class Scanner {
 public:
  Scanner(std::string_view line, int max_depth) : line_(line), max_depth_(max_depth) {}

  // Stops the scan at the value that `path` leads to.
  void LookFor(const JsonPath* path, bool key) {
    wanted_ = path;
    want_key_ = key;
  }

  // Runs to the first fault, the wanted value or the end.
  void Run() {
    SkipSpace();
    while (!fault_ && !found_) {
      if (!Value()) return;
      if (!AfterValue()) return;
    }
  }

  const std::optional<JsonFault>& fault() const { return fault_; }
  std::optional<size_t> found() const { return found_; }

 private:
  struct Level {
    bool object = false;
    size_t child = 0;
  };

  bool Fail(size_t offset, JsonlErrorCode code, std::string reason) {
    fault_ = JsonFault{offset, code, std::move(reason)};
    return false;
  }
  bool Fail(std::string reason) {
    return Fail(position_, JsonlErrorCode::kInvalidJson,
                position_ >= line_.size()
                    ? "the line ends inside a JSON value; each row must stand "
                      "on one line"
                    : std::move(reason));
  }

  bool AtEnd() const { return position_ >= line_.size(); }
  char Peek() const { return AtEnd() ? '\0' : line_[position_]; }
  void SkipSpace() {
    while (!AtEnd() && (Peek() == ' ' || Peek() == '\t' || Peek() == '\r' || Peek() == '\n')) {
      ++position_;
    }
  }

  // Notes the position when the value or key that begins here is the wanted one.
  void Visit(bool key) {
    if (wanted_ == nullptr || key != want_key_ || wanted_->size() != stack_.size()) return;
    for (size_t i = 0; i < stack_.size(); ++i) {
      if (stack_[i].child != (*wanted_)[i]) return;
    }
    found_ = position_;
  }

  // Scans a scalar, or opens a container down to its first scalar or empty end.
  bool Value() {
    for (;;) {
      Visit(/*key=*/false);
      if (found_) return false;
      const char c = Peek();
      if (c == '"') return String();
      if (c == '-' || IsDigit(c)) return Number();
      if (c != '{' && c != '[') return Literal();
      if (static_cast<int>(stack_.size()) >= max_depth_) {
        return Fail(position_, JsonlErrorCode::kTooDeep,
                    absl::StrCat("more than ", max_depth_, " nested arrays or objects"));
      }
      stack_.push_back({.object = c == '{'});
      ++position_;
      SkipSpace();
      if (Peek() == (c == '{' ? '}' : ']')) {
        ++position_;
        stack_.pop_back();
        return true;
      }
      if (c == '{' && !Key()) return false;
    }
  }

  // Closes levels and moves to the next child; false at the end of the line's value.
  bool AfterValue() {
    for (;;) {
      SkipSpace();
      if (stack_.empty()) {
        if (!AtEnd()) Fail("there is more text behind the JSON value");
        return false;
      }
      Level& level = stack_.back();
      const char end = level.object ? '}' : ']';
      if (Peek() == end) {
        ++position_;
        stack_.pop_back();
        continue;
      }
      if (Peek() != ',') return Fail(absl::StrCat("expected ',' or '", std::string(1, end), "'"));
      ++position_;
      ++level.child;
      SkipSpace();
      return !level.object || Key();
    }
  }

  bool Key() {
    Visit(/*key=*/true);
    if (found_) return false;
    if (Peek() != '"') return Fail("expected a key in double quotes");
    if (!String()) return false;
    SkipSpace();
    if (Peek() != ':') return Fail("expected ':' behind the key");
    ++position_;
    SkipSpace();
    return true;
  }

  bool Literal() {
    for (std::string_view word : {"true", "false", "null"}) {
      if (line_.substr(position_, word.size()) == word) {
        position_ += word.size();
        return true;
      }
    }
    return Fail("expected a JSON value");
  }

  bool Digits() {
    if (!IsDigit(Peek())) return Fail("expected a digit");
    while (IsDigit(Peek())) ++position_;
    return true;
  }

  bool Number() {
    const size_t begin = position_;
    if (Peek() == '-') ++position_;
    if (Peek() == '0') {
      ++position_;
      if (IsDigit(Peek())) return Fail("a number must not have a leading zero");
    } else if (!Digits()) {
      return false;
    }
    if (Peek() == '.') {
      ++position_;
      if (!Digits()) return false;
    }
    if (Peek() == 'e' || Peek() == 'E') {
      ++position_;
      if (Peek() == '+' || Peek() == '-') ++position_;
      if (!Digits()) return false;
    }
    const std::string_view number = line_.substr(begin, position_ - begin);
    if (number_parser_.parse(simdjson::padded_string(number)).error() != simdjson::SUCCESS) {
      return Fail(begin, JsonlErrorCode::kNumberOutOfRange,
                  "the number fits neither 64 bits nor a double");
    }
    return true;
  }

  // Reads the four digits behind "\u"; the value, or -1.
  int UnicodeEscape() {
    int value = 0;
    for (int i = 0; i < 4; ++i) {
      const int digit = AtEnd() ? -1 : HexValue(Peek());
      if (digit < 0) return -1;
      value = value * 16 + digit;
      ++position_;
    }
    return value;
  }

  bool Escape() {
    const size_t begin = position_++;
    const char c = Peek();
    if (c != 'u') {
      if (AtEnd() || std::string_view("\"\\/bfnrt").find(c) == std::string_view::npos) {
        return Fail("unknown escape in a string");
      }
      ++position_;
      return true;
    }
    ++position_;
    const int first = UnicodeEscape();
    if (first < 0) return Fail("expected four hexadecimal digits behind \\u");
    if (first < 0xD800 || first > 0xDFFF) return true;
    if (first < 0xDC00 && line_.substr(position_, 2) == "\\u") {
      position_ += 2;
      const int second = UnicodeEscape();
      if (second < 0) return Fail("expected four hexadecimal digits behind \\u");
      if (second >= 0xDC00 && second <= 0xDFFF) return true;
    }
    return Fail(begin, JsonlErrorCode::kInvalidUtf8,
                "an escaped surrogate without its other half is no character");
  }

  bool String() {
    ++position_;
    for (;;) {
      if (AtEnd()) return Fail("");
      const unsigned char c = static_cast<unsigned char>(Peek());
      if (c == '"') {
        ++position_;
        return true;
      }
      if (c < 0x20) return Fail("a control character in a string must be escaped");
      if (c != '\\') {
        ++position_;
      } else if (!Escape()) {
        return false;
      }
    }
  }

  const std::string_view line_;
  const int max_depth_;
  const JsonPath* wanted_ = nullptr;
  bool want_key_ = false;
  size_t position_ = 0;
  std::vector<Level> stack_;
  std::optional<JsonFault> fault_;
  std::optional<size_t> found_;
  simdjson::dom::parser number_parser_;
};

// Bytes of the well-formed sequence at `offset` (Unicode 15, table 3-7), or 0.
size_t Utf8SequenceLength(std::string_view text, size_t offset) {
  const auto byte = [&](size_t i) -> unsigned {
    return offset + i < text.size() ? static_cast<unsigned char>(text[offset + i]) : 0;
  };
  const auto continues = [&](size_t i) { return (byte(i) & 0xC0) == 0x80; };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return continues(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const bool overlong = first == 0xE0 && byte(1) < 0xA0;
    const bool surrogate = first == 0xED && byte(1) > 0x9F;
    return continues(1) && continues(2) && !overlong && !surrogate ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const bool overlong = first == 0xF0 && byte(1) < 0x90;
    const bool too_large = first == 0xF4 && byte(1) > 0x8F;
    return continues(1) && continues(2) && continues(3) && !overlong && !too_large ? 4 : 0;
  }
  return 0;
}

}  // namespace

std::optional<size_t> FirstInvalidUtf8(std::string_view text) {
  for (size_t offset = 0; offset < text.size();) {
    const size_t length = Utf8SequenceLength(text, offset);
    if (length == 0) return offset;
    offset += length;
  }
  return std::nullopt;
}

std::optional<JsonFault> FindJsonFault(std::string_view line, int max_depth) {
  Scanner scanner(line, max_depth);
  scanner.Run();
  return scanner.fault();
}

size_t OffsetOf(std::string_view line, const JsonPath& path, bool key) {
  Scanner scanner(line, /*max_depth=*/1 << 20);
  scanner.LookFor(&path, key);
  scanner.Run();
  return scanner.found().value_or(0);
}

}  // namespace wardtune
