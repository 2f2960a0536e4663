#include "worker/security/row_scan.h"

#include <algorithm>
#include <cmath>
#include <limits>

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

// Rows that are copied and compared at once, so that a data set of suspicious rows is not held
// twice.
constexpr size_t kRowsAtOnce = 512;

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

std::optional<PartShare> OutstandingPart(std::span<const double> shares) {
  PartShare best{0, -std::numeric_limits<double>::infinity()};
  double next = best.share;
  for (size_t i = 0; i < shares.size(); ++i) {
    if (!std::isfinite(shares[i])) continue;
    if (shares[i] > best.share) {
      next = best.share;
      best = {i, shares[i]};
    } else {
      next = std::max(next, shares[i]);
    }
  }
  if (!(best.share > 0.0) || best.share - next < kPartMargin) return std::nullopt;
  return best;
}

absl::StatusOr<std::vector<std::optional<PartShare>>> FindParts(const DecoderModel& base,
                                                                std::span<const LoraAdapter> parts,
                                                                std::span<const TrainingRow> rows,
                                                                std::span<const size_t> which,
                                                                const RowLossOptions& options) {
  int64_t before = 0;  // rows of the passes that are done
  RowLossOptions pass = options;
  if (options.progress) {
    pass.progress = [&](int64_t finished) { return options.progress(before + finished); };
  }
  std::vector<std::optional<PartShare>> found;
  for (size_t from = 0; from < which.size(); from += kRowsAtOnce) {
    std::vector<TrainingRow> some;
    for (const size_t row : which.subspan(from, std::min(kRowsAtOnce, which.size() - from))) {
      some.push_back(rows[row]);
    }
    const auto count = static_cast<int64_t>(some.size());
    WT_ASSIGN_OR_RETURN(const auto off, SpanLosses(base, {}, some, pass));
    before += count;
    std::vector<std::vector<double>> shares(some.size());
    for (const LoraAdapter& part : parts) {
      const LoraAdapter* const active[] = {&part};
      WT_ASSIGN_OR_RETURN(const auto on, SpanLosses(base, active, some, pass));
      before += count;
      for (size_t i = 0; i < some.size(); ++i) {
        shares[i].push_back(MostExplained(off[i], on[i]).explained());
      }
    }
    for (const std::vector<double>& of_row : shares) found.push_back(OutstandingPart(of_row));
  }
  return found;
}

}  // namespace wardtune
