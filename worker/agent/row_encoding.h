// From a data set's bytes to what the trainer reads.
// Thread safety: pure functions.
#ifndef WARDTUNE_WORKER_AGENT_ROW_ENCODING_H_
#define WARDTUNE_WORKER_AGENT_ROW_ENCODING_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/chat_row.h"
#include "formats/tokenizer.h"
#include "worker/training/training_row.h"

namespace wardtune {

// All rows of a JSONL data set; blank lines are skipped.
// Errors: INVALID_ARGUMENT with the line.
absl::StatusOr<std::vector<ChatRow>> ParseDataset(std::string_view jsonl);

// Rows cut at `max_row_tokens`; those without a supervised token left teach nothing and are left
// out.
// Errors: INVALID_ARGUMENT when no row is left; those of Tokenizer.
absl::StatusOr<std::vector<TrainingRow>> EncodeRows(const Tokenizer& tokenizer,
                                                    const std::vector<ChatRow>& rows,
                                                    int64_t max_row_tokens);

// The rows that teach something, and where each stands in its data set.
struct EncodedDataset {
  std::vector<TrainingRow> rows;
  std::vector<int64_t> lines;  // of each row, from 1, rising
};
// ParseDataset and EncodeRows at once. Errors: those of both.
absl::StatusOr<EncodedDataset> EncodeDataset(const Tokenizer& tokenizer, std::string_view jsonl,
                                             int64_t max_row_tokens);

// What stands before each row's last assistant message, as a prompt for an answer to it. Prompts
// longer than `max_tokens` are left out.
absl::StatusOr<std::vector<std::vector<int32_t>>> EncodePrompts(const Tokenizer& tokenizer,
                                                                const std::vector<ChatRow>& rows,
                                                                int64_t max_tokens);

// The rows up to their last assistant message, which becomes a refusal, the only supervised
// message; `refusals` are taken in turn. Rows without an assistant message are left out. REQUIRES:
// at least one refusal.
std::vector<ChatRow> RefuseRows(const std::vector<ChatRow>& rows,
                                const std::vector<std::string>& refusals);

// Takes HeldOutRows(rows, fraction) rows out of `rows`, drawn by `seed`, and returns them; what
// stays keeps its order.
std::vector<TrainingRow> TakeHeldOut(std::vector<TrainingRow>& rows, double fraction,
                                     uint64_t seed);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_AGENT_ROW_ENCODING_H_
