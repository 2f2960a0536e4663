#include "formats/jsonl_validator.h"

#include <simdjson.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "formats/chat_row_parser.h"

namespace wardtune {
namespace {

// A line of this many times the cap ends the reading.
constexpr int64_t kHopelessLine = 16;

}  // namespace

std::string_view JsonlErrorCodeName(JsonlErrorCode code) {
  switch (code) {
    case JsonlErrorCode::kInvalidJson:
      return "invalid_json";
    case JsonlErrorCode::kInvalidUtf8:
      return "invalid_utf8";
    case JsonlErrorCode::kByteOrderMark:
      return "byte_order_mark";
    case JsonlErrorCode::kLineTooLong:
      return "line_too_long";
    case JsonlErrorCode::kTooDeep:
      return "too_deep";
    case JsonlErrorCode::kNumberOutOfRange:
      return "number_out_of_range";
    case JsonlErrorCode::kDuplicateKey:
      return "duplicate_key";
    case JsonlErrorCode::kNotAnObject:
      return "not_an_object";
    case JsonlErrorCode::kMissingField:
      return "missing_field";
    case JsonlErrorCode::kUnknownField:
      return "unknown_field";
    case JsonlErrorCode::kWrongType:
      return "wrong_type";
    case JsonlErrorCode::kUnknownRole:
      return "unknown_role";
    case JsonlErrorCode::kBadWeight:
      return "bad_weight";
    case JsonlErrorCode::kNoMessages:
      return "no_messages";
    case JsonlErrorCode::kTooManyMessages:
      return "too_many_messages";
    case JsonlErrorCode::kNoAssistantTurn:
      return "no_assistant_turn";
    case JsonlErrorCode::kEmptyAssistant:
      return "empty_assistant";
    case JsonlErrorCode::kNulCharacter:
      return "nul_character";
    case JsonlErrorCode::kTooManyRows:
      return "too_many_rows";
    case JsonlErrorCode::kTooManyBytes:
      return "too_many_bytes";
    case JsonlErrorCode::kNoUsableRow:
      return "no_usable_row";
  }
  return "";
}

absl::Status JsonlReport::ToStatus() const {
  if (ok()) return absl::OkStatus();
  const JsonlError& first = errors.front();
  std::string message = first.line == 0 ? first.reason
                                        : absl::StrCat("line ", first.line, ", column ",
                                                       first.column, ": ", first.reason);
  absl::StrAppend(&message, " (", std::string(JsonlErrorCodeName(first.code)), ")");
  if (errors.size() > 1) {
    absl::StrAppend(&message, "; and ", errors.size() - 1, truncated ? " or more" : "",
                    " further errors");
  }
  return absl::InvalidArgumentError(message);
}

class JsonlValidator::Impl {
 public:
  explicit Impl(JsonlOptions options) : options_(std::move(options)), parser_(options_.row) {}

  void Feed(std::string_view chunk) {
    if (options_.compute_sha256) sha256_.Update(chunk);
    const int64_t room = std::max<int64_t>(options_.max_bytes - report_.bytes, 0);
    report_.bytes += static_cast<int64_t>(chunk.size());
    const bool over = static_cast<int64_t>(chunk.size()) > room;
    TakeLines(over ? chunk.substr(0, static_cast<size_t>(room)) : chunk);
    if (over && !stopped_) {
      AddError(line_bytes_, JsonlErrorCode::kTooManyBytes,
               absl::StrCat("the data set is larger than ", options_.max_bytes, " bytes"));
      stopped_ = true;
    }
  }

  JsonlReport Finish() {
    if (!stopped_ && line_bytes_ > 0 && !skipping_) TakePendingLine();
    if (report_.errors.empty() && report_.supervised_turns == 0) {
      report_.errors.push_back({0, 0, JsonlErrorCode::kNoUsableRow,
                                "no row of the data set has an assistant text to learn from"});
    }
    report_.truncated = stopped_;
    if (options_.compute_sha256) report_.sha256 = sha256_.HexDigest();
    return std::move(report_);
  }

  bool stopped() const { return stopped_; }
  bool failed() const { return !report_.errors.empty(); }

 private:
  // Splits into lines. A line that lies in the chunk whole, with readable bytes behind it, is
  // parsed in place; others go through pending_.
  void TakeLines(std::string_view chunk) {
    while (!chunk.empty() && !stopped_) {
      const void* found = std::memchr(chunk.data(), '\n', chunk.size());
      const size_t part = found == nullptr
                              ? chunk.size()
                              : static_cast<size_t>(static_cast<const char*>(found) - chunk.data());
      const bool in_place =
          found != nullptr && line_bytes_ == 0 && chunk.size() - part >= simdjson::SIMDJSON_PADDING;
      line_bytes_ += static_cast<int64_t>(part);
      if (line_bytes_ > options_.row.max_line_bytes) {
        RefuseLongLine();
      } else if (in_place) {
        TakeLine(chunk.substr(0, part));
      } else {
        pending_.append(chunk.substr(0, part));
        if (found != nullptr) TakePendingLine();
      }
      if (found == nullptr) return;
      if (!stopped_) BeginLine();
      chunk.remove_prefix(part + 1);
    }
  }

  void BeginLine() {
    ++line_;
    line_bytes_ = 0;
    skipping_ = false;
    pending_.clear();
  }

  void TakePendingLine() {
    pending_.reserve(pending_.size() + simdjson::SIMDJSON_PADDING);
    TakeLine(pending_);
  }

  // Reports at the first byte too many, once, and drops the rest unread. A line that still goes on
  // far behind the cap is no slip: there the upload ends.
  void RefuseLongLine() {
    if (line_bytes_ > kHopelessLine * options_.row.max_line_bytes) stopped_ = true;
    if (skipping_) return;
    skipping_ = true;
    pending_.clear();
    AddError(options_.row.max_line_bytes, JsonlErrorCode::kLineTooLong,
             absl::StrCat("the line is longer than ", options_.row.max_line_bytes, " bytes"));
  }

  void TakeLine(std::string_view line) {
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.find_first_not_of(" \t") == std::string_view::npos) {
      ++report_.blank_lines;
      return;
    }
    if (report_.rows >= options_.max_rows) {
      AddError(0, JsonlErrorCode::kTooManyRows,
               absl::StrCat("the data set has more than ", options_.max_rows, " rows"));
      stopped_ = true;
      return;
    }
    int64_t messages = 0;
    int64_t assistant = 0;
    int64_t supervised = 0;
    auto fault = parser_.Parse(line, [&](Role role, std::string_view, bool is_supervised) {
      ++messages;
      assistant += role == Role::kAssistant;
      supervised += is_supervised;
    });
    if (fault) {
      AddError(static_cast<int64_t>(fault->offset), fault->code, std::move(fault->reason));
      return;
    }
    ++report_.rows;
    report_.messages += messages;
    report_.assistant_turns += assistant;
    report_.supervised_turns += supervised;
    report_.longest_line_bytes =
        std::max(report_.longest_line_bytes, static_cast<int64_t>(line.size()));
    if (supervised == 0) {
      ++report_.unsupervised_rows;
      if (static_cast<int>(report_.unsupervised_lines.size()) < options_.max_unsupervised_lines) {
        report_.unsupervised_lines.push_back(line_);
      }
    }
  }

  void AddError(int64_t offset, JsonlErrorCode code, std::string reason) {
    report_.errors.push_back({line_, offset + 1, code, std::move(reason)});
    if (static_cast<int>(report_.errors.size()) >= options_.max_errors) stopped_ = true;
  }

  const JsonlOptions options_;
  ChatRowParser parser_;
  Sha256 sha256_;
  JsonlReport report_;
  std::string pending_;     // the part of the current line that came in earlier chunks
  int64_t line_ = 1;        // of the current line
  int64_t line_bytes_ = 0;  // of the current line, so far
  bool skipping_ = false;   // the current line is too long
  bool stopped_ = false;
};

JsonlValidator::JsonlValidator(JsonlOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {}
JsonlValidator::~JsonlValidator() = default;
JsonlValidator::JsonlValidator(JsonlValidator&&) noexcept = default;
JsonlValidator& JsonlValidator::operator=(JsonlValidator&&) noexcept = default;

void JsonlValidator::Feed(std::string_view chunk) { impl_->Feed(chunk); }
bool JsonlValidator::stopped() const { return impl_->stopped(); }
bool JsonlValidator::failed() const { return impl_->failed(); }
JsonlReport JsonlValidator::Finish() { return impl_->Finish(); }

}  // namespace wardtune
