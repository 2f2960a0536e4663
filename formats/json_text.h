// Strings and finite numbers as JSON text, for the two small documents that this room writes.
// Thread safety: re-entrant functions.
#ifndef WARDTUNE_FORMATS_JSON_TEXT_H_
#define WARDTUNE_FORMATS_JSON_TEXT_H_

#include <charconv>
#include <string>
#include <string_view>

namespace wardtune {

// The text in double quotes with everything escaped that RFC 8259 demands. REQUIRES: UTF-8.
inline std::string JsonString(std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string json = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      json.push_back('\\');
      json.push_back(c);
    } else if (byte < 0x20) {
      json.append("\\u00");
      json.push_back(kHex[byte >> 4]);
      json.push_back(kHex[byte & 15]);
    } else {
      json.push_back(c);
    }
  }
  json.push_back('"');
  return json;
}

// The shortest text that reads back as the same double. REQUIRES: finite.
inline std::string JsonNumber(double value) {
  char buffer[32];
  const auto result = std::to_chars(buffer, buffer + sizeof(buffer), value);
  return std::string(buffer, result.ptr);
}

}  // namespace wardtune

#endif  // WARDTUNE_FORMATS_JSON_TEXT_H_
