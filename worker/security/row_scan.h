// Finds the customer's rows that the base's security vector already explains: their loss falls when
// the vector is folded in, whereas useful rows become no easier by it. A row is as suspicious as
// the most explained message in it, so that harm does not hide among useful messages.
//
// What it finds is suspicious, not proven: a behaviour that the vector was never trained for stays
// unseen. docs/research.md has precision and recall. Thread safety: pure functions.
#ifndef WARDTUNE_WORKER_SECURITY_ROW_SCAN_H_
#define WARDTUNE_WORKER_SECURITY_ROW_SCAN_H_

#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/model/adapter.h"
#include "worker/model/decoder.h"
#include "worker/training/row_loss.h"
#include "worker/training/training_row.h"

namespace wardtune {

// Losses of the message that the vector explains best, or of the whole row where that is more.
struct RowScan {
  double loss_off = 0.0;  // on the plain base; nats per supervised token
  double loss_on = 0.0;   // with the vector folded in

  // Share of the loss that the vector takes away, at most 1; negative where it adds loss. No number
  // where a loss with the vector is not finite.
  double explained() const {
    if (!std::isfinite(loss_on)) return std::numeric_limits<double>::quiet_NaN();
    return loss_off == 0.0 ? 0.0 : 1.0 - loss_on / loss_off;
  }
};

// Shorter messages count with their row alone: the loss of a word or two says little.
inline constexpr int64_t kMinMessageTokens = 4;

// A row is suspicious from this share on. Chosen on the stand-in data (docs/research.md).
inline constexpr double kSuspiciousShare = 0.5;

// Also true when the share is no number: what cannot be measured is not innocent.
inline bool IsSuspicious(const RowScan& scan, double share = kSuspiciousShare) {
  return !(scan.explained() < share);
}

// One entry a row, in their order. `folded` is the base with the vector folded in. The progress
// counts each row twice, once off and once on. Errors: those of RowLosses.
absl::StatusOr<std::vector<RowScan>> ScanRows(const DecoderModel& base, const DecoderModel& folded,
                                              std::span<const TrainingRow> rows,
                                              const RowLossOptions& options = {});

// One of the vectors that the scanning one is the sum of, and the share of a row's loss that it
// takes away alone.
struct PartShare {
  size_t part = 0;
  double share = 0.0;
};

// A part stands out when it takes this share more of the loss away than the next.
inline constexpr double kPartMargin = 0.05;

// The part that stands out; none when the best takes nothing away or is too close to the next.
// Shares that are no numbers do not count.
std::optional<PartShare> OutstandingPart(std::span<const double> shares);

// For each of `which`, positions in `rows`, the part that stands out. A row counts as in ScanRows:
// as the message that the part explains best. Takes the loss once a part and once without; the
// progress counts each row of `which` as often. Errors: those of RowLosses.
absl::StatusOr<std::vector<std::optional<PartShare>>> FindParts(const DecoderModel& base,
                                                                std::span<const LoraAdapter> parts,
                                                                std::span<const TrainingRow> rows,
                                                                std::span<const size_t> which,
                                                                const RowLossOptions& options = {});

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_SECURITY_ROW_SCAN_H_
