#include "worker/security/row_scan.h"

#include <cmath>

#include "base/status_macros.h"

namespace wardtune {
namespace {

// Both lists are of one row: as many spans of as many tokens.
RowScan MostExplained(const std::vector<SpanLoss>& off, const std::vector<SpanLoss>& on) {
  RowScan row;
  int64_t tokens = 0;
  for (size_t i = 0; i < off.size(); ++i) {
    const auto count = static_cast<double>(off[i].tokens);
    row.loss_off += count * off[i].loss;
    row.loss_on += count * on[i].loss;
    tokens += off[i].tokens;
  }
  row = {row.loss_off / static_cast<double>(tokens), row.loss_on / static_cast<double>(tokens)};
  // A message that is no number makes its row none, and so suspicious.
  if (std::isnan(row.explained())) return row;
  for (size_t i = 0; i < off.size(); ++i) {
    const RowScan message{off[i].loss, on[i].loss};
    if (off[i].tokens < kMinMessageTokens || message.explained() <= row.explained()) continue;
    row = message;
  }
  return row;
}

}  // namespace

absl::StatusOr<std::vector<RowScan>> ScanRows(const DecoderModel& base, const DecoderModel& folded,
                                              std::span<const TrainingRow> rows,
                                              const RowLossOptions& options) {
  WT_ASSIGN_OR_RETURN(const auto off, SpanLosses(base, {}, rows, options));
  RowLossOptions second = options;
  if (options.progress) {
    second.progress = [&](int64_t finished) {
      return options.progress(static_cast<int64_t>(rows.size()) + finished);
    };
  }
  WT_ASSIGN_OR_RETURN(const auto on, SpanLosses(folded, {}, rows, second));
  std::vector<RowScan> scans(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) scans[i] = MostExplained(off[i], on[i]);
  return scans;
}

}  // namespace wardtune
