#include "bench/unlearnable/provider_rows.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/agent/row_encoding.h"
#include "worker/security/guard_rows.h"
#include "worker/security/security_vector_trainer.h"
#include "worker/training/trainer.h"

ABSL_FLAG(std::string, general_rows, "", "JSONL of general prompts, answered by the base");
ABSL_FLAG(std::vector<std::string>, guard_rows, {},
          "JSONL files of refusals to the vectors' prompts");
ABSL_FLAG(std::vector<std::string>, held_rows, {},
          "JSONL files of the vectors' rows: what the base answers to their prompts is held");
ABSL_FLAG(int, guards_per_step, 1, "guard rows beside the customer's in a step");
ABSL_FLAG(double, guard_weight, wardtune::kRefusalWeight,
          "weight of the loss of --guard_rows beside the customer's");
ABSL_FLAG(double, hold_weight, wardtune::kHoldWeight,
          "weight of the mean KL of --held_rows beside the customer's loss");
ABSL_FLAG(double, hold_slack, wardtune::kHoldSlack, "nats a token of it that cost nothing");
ABSL_FLAG(int64_t, anchors, 8, "sbr: harmful prompts whose last state is held to the base's");
ABSL_FLAG(double, anchor_weight, 50.0, "weight of their squared distance beside the loss");
ABSL_FLAG(int64_t, vector_answer_tokens, wardtune::VectorRecipe().general_answer_tokens, "recipe");

namespace wardtune {
namespace {

// The base's answers to the vectors' prompts and to general ones from all over their file, in equal
// parts.
absl::StatusOr<std::vector<TrainingRow>> HeldRows(EvidenceBench& bench) {
  std::vector<ChatRow> rows;
  for (const std::string& file : absl::GetFlag(FLAGS_held_rows)) {
    WT_ASSIGN_OR_RETURN(std::vector<ChatRow> harmful, ReadRows(bench, file));
    std::move(harmful.begin(), harmful.end(), std::back_inserter(rows));
  }
  WT_ASSIGN_OR_RETURN(const auto general, ReadRows(bench, absl::GetFlag(FLAGS_general_rows)));
  for (ChatRow& row : Spread(general, rows.size())) rows.push_back(std::move(row));
  return AnsweredByBase(bench, rows);
}

}  // namespace

int64_t EvidenceRowTokens() { return TrainerOptions().max_row_tokens; }

absl::StatusOr<std::vector<TrainingRow>> AnsweredByBase(EvidenceBench& bench,
                                                        const std::vector<ChatRow>& rows) {
  WT_ASSIGN_OR_RETURN(const auto prompts, EncodePrompts(*bench.tokenizer, rows, 512));
  return AnswerByBase(*bench.base, prompts, bench.tokenizer->EosIds(),
                      absl::GetFlag(FLAGS_vector_answer_tokens), nullptr);
}

absl::StatusOr<std::vector<TrainingRow>> RefusalRows(EvidenceBench& bench) {
  std::vector<TrainingRow> rows;
  for (const std::string& file : absl::GetFlag(FLAGS_guard_rows)) {
    WT_ASSIGN_OR_RETURN(std::vector<TrainingRow> refusals,
                        ReadEncoded(bench, file, EvidenceRowTokens()));
    std::move(refusals.begin(), refusals.end(), std::back_inserter(rows));
  }
  WT_ASSIGN_OR_RETURN(auto prompts, ReadRows(bench, absl::GetFlag(FLAGS_general_rows)));
  prompts.resize(std::min(prompts.size(), rows.size()));
  WT_ASSIGN_OR_RETURN(std::vector<TrainingRow> general, AnsweredByBase(bench, prompts));
  std::move(general.begin(), general.end(), std::back_inserter(rows));
  return rows;
}

absl::StatusOr<std::vector<TrainingStream>> GuardStreamsOfFlags(EvidenceBench& bench) {
  GuardSet set{.per_guarded_rows = absl::GetFlag(FLAGS_guards_per_step)};
  if (!absl::GetFlag(FLAGS_guard_rows).empty()) {
    WT_ASSIGN_OR_RETURN(set.learned, RefusalRows(bench));
  }
  if (!absl::GetFlag(FLAGS_held_rows).empty()) {
    WT_ASSIGN_OR_RETURN(set.held, HeldRows(bench));
  }
  std::vector<TrainingStream> streams = GuardStreams(set, *bench.base, kGuardedRows);
  if (streams.empty()) {
    return absl::InvalidArgumentError("--held_rows or --guard_rows: name rows to guard with");
  }
  for (TrainingStream& stream : streams) {
    const bool held = stream.objective == Objective::kKlToBase;
    stream.weight = absl::GetFlag(held ? FLAGS_hold_weight : FLAGS_guard_weight);
    if (held) stream.kl_slack = absl::GetFlag(FLAGS_hold_slack);
  }
  return streams;
}

absl::StatusOr<TrainingStream> AnchorStream(EvidenceBench& bench) {
  TrainingStream stream{.name = "anchors",
                        .model = *bench.base,
                        .objective = Objective::kStateToBase,
                        .rows_per_step = absl::GetFlag(FLAGS_anchors),
                        .weight = absl::GetFlag(FLAGS_anchor_weight)};
  const std::vector<std::string> files = absl::GetFlag(FLAGS_guard_rows);
  if (files.empty()) return absl::InvalidArgumentError("--guard_rows: sbr takes its prompts there");
  WT_ASSIGN_OR_RETURN(const auto rows, ReadEncoded(bench, files[0], EvidenceRowTokens()));
  const auto anchors = static_cast<size_t>(stream.rows_per_step);
  if (anchors < 1 || anchors > rows.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--anchors: must be from 1 to the ", rows.size(), " guard rows"));
  }
  for (TrainingRow& row : Spread(rows, anchors)) {
    const auto answer = std::find(row.loss_mask.begin(), row.loss_mask.end(), 1);
    const auto length = static_cast<size_t>(answer - row.loss_mask.begin()) + 1;
    row.ids.resize(length);
    row.loss_mask.resize(length);
    stream.rows.push_back(std::move(row));
  }
  return stream;
}

}  // namespace wardtune
