#include "worker/agent/event_log.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"

namespace wardtune {
namespace {

// Escapes everything but printable ASCII, so that any input gives one line of valid JSON.
std::string JsonText(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (c >= 0x20 && c < 0x7f) {
      out.push_back(c);
    } else {
      absl::StrAppendFormat(&out, "\\u%04x", static_cast<unsigned char>(c));
    }
  }
  out.push_back('"');
  return out;
}

std::string JsonValue(const std::variant<std::string, int64_t, double>& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return JsonText(*text);
  if (const auto* number = std::get_if<int64_t>(&value)) return absl::StrCat(*number);
  const double real = std::get<double>(value);
  return std::isfinite(real) ? absl::StrCat(real) : "null";
}

}  // namespace

void EventLog::Write(std::string_view event, std::initializer_list<EventField> fields) {
  std::string line = absl::StrCat(
      "{\"time\": ",
      JsonText(absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", clock_.Now(), absl::UTCTimeZone())),
      ", \"event\": ", JsonText(event));
  for (const EventField& field : fields) {
    absl::StrAppend(&line, ", ", JsonText(field.name), ": ", JsonValue(field.value));
  }
  line += "}\n";
  absl::MutexLock lock(&mutex_);
  out_ << line << std::flush;
}

}  // namespace wardtune
