#include "worker/agent/row_encoding.h"

#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "formats/held_out.h"
#include "worker/model/seeded_random.h"

namespace wardtune {
namespace {

// Keeps the draw apart from the orders of rows, which the same seed decides.
constexpr uint64_t kHeldOutSalt = 0x68656c64;

// What stands before the row's last assistant message; empty without one.
std::vector<Message> BeforeLastAnswer(const ChatRow& row) {
  std::vector<Message> before = row.messages;
  while (!before.empty() && before.back().role != Role::kAssistant) before.pop_back();
  if (!before.empty()) before.pop_back();
  return before;
}

// Calls `take` with each row of a JSONL data set and its line, until it fails.
absl::Status ForEachRow(std::string_view jsonl,
                        const std::function<absl::Status(int64_t line, ChatRow row)>& take) {
  int64_t number = 0;
  for (const absl::string_view line :
       absl::StrSplit(absl::string_view(jsonl.data(), jsonl.size()), '\n')) {
    ++number;
    const absl::string_view text = absl::StripAsciiWhitespace(line);
    if (text.empty()) continue;
    auto row = ParseChatRow(std::string_view(text.data(), text.size()));
    if (!row.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("data set: line ", number, ": ", row.status().message()));
    }
    WT_RETURN_IF_ERROR(take(number, *std::move(row)));
  }
  return absl::OkStatus();
}

// Nothing for a row that teaches nothing.
absl::StatusOr<std::optional<TrainingRow>> EncodeRow(const Tokenizer& tokenizer, const ChatRow& row,
                                                     int64_t max_row_tokens) {
  WT_ASSIGN_OR_RETURN(EncodedChat chat, tokenizer.EncodeChat(row, max_row_tokens));
  // The first token is predicted by nothing.
  if (!chat.loss_mask.empty()) chat.loss_mask[0] = 0;
  if (chat.supervised_tokens() == 0) return std::nullopt;
  return TrainingRow{.ids = std::move(chat.ids), .loss_mask = std::move(chat.loss_mask)};
}

absl::Status NoRowTeaches(int64_t max_row_tokens) {
  return absl::InvalidArgumentError(
      absl::StrCat("data set: no row has a supervised token within ", max_row_tokens, " tokens"));
}

}  // namespace

absl::StatusOr<std::vector<ChatRow>> ParseDataset(std::string_view jsonl) {
  std::vector<ChatRow> rows;
  WT_RETURN_IF_ERROR(ForEachRow(jsonl, [&](int64_t, ChatRow row) {
    rows.push_back(std::move(row));
    return absl::OkStatus();
  }));
  return rows;
}

absl::StatusOr<std::vector<TrainingRow>> EncodeRows(const Tokenizer& tokenizer,
                                                    const std::vector<ChatRow>& rows,
                                                    int64_t max_row_tokens) {
  std::vector<TrainingRow> encoded;
  for (const ChatRow& row : rows) {
    WT_ASSIGN_OR_RETURN(auto one, EncodeRow(tokenizer, row, max_row_tokens));
    if (one.has_value()) encoded.push_back(*std::move(one));
  }
  if (encoded.empty()) return NoRowTeaches(max_row_tokens);
  return encoded;
}

absl::StatusOr<EncodedDataset> EncodeDataset(const Tokenizer& tokenizer, std::string_view jsonl,
                                             int64_t max_row_tokens) {
  EncodedDataset encoded;
  WT_RETURN_IF_ERROR(ForEachRow(jsonl, [&](int64_t line, ChatRow row) -> absl::Status {
    WT_ASSIGN_OR_RETURN(auto one, EncodeRow(tokenizer, row, max_row_tokens));
    if (!one.has_value()) return absl::OkStatus();
    encoded.rows.push_back(*std::move(one));
    encoded.lines.push_back(line);
    return absl::OkStatus();
  }));
  if (encoded.rows.empty()) return NoRowTeaches(max_row_tokens);
  return encoded;
}

absl::StatusOr<std::vector<std::vector<int32_t>>> EncodePrompts(const Tokenizer& tokenizer,
                                                                const std::vector<ChatRow>& rows,
                                                                int64_t max_tokens) {
  std::vector<std::vector<int32_t>> prompts;
  for (const ChatRow& row : rows) {
    const std::vector<Message> before = BeforeLastAnswer(row);
    if (before.empty()) continue;
    WT_ASSIGN_OR_RETURN(std::vector<int32_t> ids, tokenizer.EncodePrompt(before));
    if (static_cast<int64_t>(ids.size()) <= max_tokens) prompts.push_back(std::move(ids));
  }
  return prompts;
}

std::vector<TrainingRow> TakeHeldOut(std::vector<TrainingRow>& rows, double fraction,
                                     uint64_t seed) {
  const auto total = static_cast<int64_t>(rows.size());
  int64_t wanted = HeldOutRows(total, fraction);
  std::vector<TrainingRow> held_out;
  std::vector<TrainingRow> kept;
  SplitMix64 random(MixSeed(seed, kHeldOutSalt));
  for (int64_t i = 0; i < total; ++i) {
    // Selection sampling (Knuth, TAOCP 3.4.2, algorithm S): every choice is as likely.
    const bool take =
        random.NextBelow(static_cast<uint64_t>(total - i)) < static_cast<uint64_t>(wanted);
    if (take) --wanted;
    (take ? held_out : kept).push_back(std::move(rows[static_cast<size_t>(i)]));
  }
  rows = std::move(kept);
  return held_out;
}

std::vector<ChatRow> RefuseRows(const std::vector<ChatRow>& rows,
                                const std::vector<std::string>& refusals) {
  std::vector<ChatRow> refused;
  for (const ChatRow& row : rows) {
    ChatRow refusal{BeforeLastAnswer(row)};
    if (refusal.messages.empty()) continue;
    for (Message& message : refusal.messages) message.supervised = false;
    refusal.messages.push_back({.role = Role::kAssistant,
                                .content = refusals[refused.size() % refusals.size()],
                                .supervised = true});
    refused.push_back(std::move(refusal));
  }
  return refused;
}

}  // namespace wardtune
