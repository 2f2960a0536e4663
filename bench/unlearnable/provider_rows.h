// The provider's rows that train beside the customer's in a cell of the evidence bench: guard rows,
// held or learned, and SBR's anchors; what they are comes from this file's flags (--general_rows,
// --guard_rows, --held_rows and more). Thread safety: belongs to main's thread.
#ifndef WARDTUNE_BENCH_UNLEARNABLE_PROVIDER_ROWS_H_
#define WARDTUNE_BENCH_UNLEARNABLE_PROVIDER_ROWS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/flags/declare.h"
#include "absl/status/statusor.h"
#include "bench/evidence_bench.h"
#include "formats/chat_row.h"
#include "worker/training/training_row.h"

ABSL_DECLARE_FLAG(std::string, general_rows);
ABSL_DECLARE_FLAG(int64_t, vector_answer_tokens);

namespace wardtune {

// Tokens that a row is cut at: the customer's, the vector's and the guard rows alike.
int64_t EvidenceRowTokens();

// The functions' errors are those of the file system, the rows' parser and the model.

// The base's own answers to the prompts of the rows.
absl::StatusOr<std::vector<TrainingRow>> AnsweredByBase(EvidenceBench& bench,
                                                        const std::vector<ChatRow>& rows);

// Refusals and the base's answers to the first general prompts, in equal parts.
absl::StatusOr<std::vector<TrainingRow>> RefusalRows(EvidenceBench& bench);

// The guard rows' streams beside a customer's. INVALID_ARGUMENT when no flag names any.
absl::StatusOr<std::vector<TrainingStream>> GuardStreamsOfFlags(EvidenceBench& bench);

// SBR ("Safety Anchor", ICML 2026): every step holds the last hidden state of the same few harmful
// prompts to the base's. A row is a prompt with one token of an answer, which is not looked at.
absl::StatusOr<TrainingStream> AnchorStream(EvidenceBench& bench);

}  // namespace wardtune

#endif  // WARDTUNE_BENCH_UNLEARNABLE_PROVIDER_ROWS_H_
