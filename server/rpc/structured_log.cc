#include "server/rpc/structured_log.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace wardtune {
namespace {

// `text` as a JSON string with its quotes; bytes outside ASCII are escaped, so any input is safe.
std::string AsciiJsonString(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte >= 0x7f) {
      absl::StrAppendFormat(&out, "\\u%04x", byte);
    } else {
      out += c;
    }
  }
  return out + '"';
}

}  // namespace

void StructuredLog::Write(std::string_view event, std::initializer_list<LogField> fields) {
  std::string line = absl::StrCat(
      "{\"time\":\"", absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", clock_.Now(), absl::UTCTimeZone()),
      "\",\"event\":", AsciiJsonString(event));
  for (const LogField& field : fields) {
    absl::StrAppend(&line, ",", AsciiJsonString(field.name), ":");
    if (const auto* text = std::get_if<std::string>(&field.value)) {
      absl::StrAppend(&line, AsciiJsonString(*text));
    } else if (const auto* integer = std::get_if<int64_t>(&field.value)) {
      absl::StrAppend(&line, *integer);
    } else {
      absl::StrAppend(&line, std::get<double>(field.value));
    }
  }
  line += "}\n";
  absl::MutexLock lock(&mutex_);
  out_ << line << std::flush;
}

}  // namespace wardtune
