#include "worker/security/row_scan.h"

#include "base/status_macros.h"

namespace wardtune {

absl::StatusOr<std::vector<RowScan>> ScanRows(const DecoderModel& base, const DecoderModel& folded,
                                              std::span<const TrainingRow> rows,
                                              const RowLossOptions& options) {
  WT_ASSIGN_OR_RETURN(const std::vector<double> off, RowLosses(base, {}, rows, options));
  WT_ASSIGN_OR_RETURN(const std::vector<double> on, RowLosses(folded, {}, rows, options));
  std::vector<RowScan> scans(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) scans[i] = {off[i], on[i]};
  return scans;
}

}  // namespace wardtune
