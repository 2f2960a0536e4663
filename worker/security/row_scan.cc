#include "worker/security/row_scan.h"

#include "base/status_macros.h"

namespace wardtune {

absl::StatusOr<std::vector<RowScan>> ScanRows(const DecoderModel& base, const DecoderModel& folded,
                                              std::span<const TrainingRow> rows,
                                              const RowLossOptions& options) {
  WT_ASSIGN_OR_RETURN(const std::vector<double> off, RowLosses(base, {}, rows, options));
  RowLossOptions second = options;
  if (options.progress) {
    second.progress = [&](int64_t finished) {
      return options.progress(static_cast<int64_t>(rows.size()) + finished);
    };
  }
  WT_ASSIGN_OR_RETURN(const std::vector<double> on, RowLosses(folded, {}, rows, second));
  std::vector<RowScan> scans(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) scans[i] = {off[i], on[i]};
  return scans;
}

}  // namespace wardtune
