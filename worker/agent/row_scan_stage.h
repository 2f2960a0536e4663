// What becomes of a customer's rows once they are scanned by the security vector: the report, the
// rows that are left out, the refusal. Holds lines, counts and the vector's categories, never a
// row's text.
// Thread safety: ScanDataset belongs to the attempt's thread; the others are pure functions.
#ifndef WARDTUNE_WORKER_AGENT_ROW_SCAN_STAGE_H_
#define WARDTUNE_WORKER_AGENT_ROW_SCAN_STAGE_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "wardtune/v1/worker_service.pb.h"
#include "worker/agent/attempt.h"
#include "worker/agent/row_encoding.h"
#include "worker/security/row_scan.h"
#include "worker/security/security_vector.h"

namespace wardtune {

// Whether the lease's terms ask for a scan.
bool AsksForScan(const v1::RowScanWork& work);

// What the scan of a data set's rows measured.
struct RowFindings {
  std::vector<RowScan> scans;  // of each row
  // Of each suspicious row, in their order: the part of the vector that stands out.
  std::vector<std::optional<PartShare>> parts;
};

// The positions of the rows that the lease's terms call suspicious.
std::vector<size_t> SuspiciousRows(const v1::RowScanWork& work, std::span<const RowScan> scans);

// The outcome under the lease's terms. `parts` are the vector's, `lines` those of the scanned rows.
// REQUIRES: as many lines as scans, and as many found parts as suspicious rows.
v1::RowScanOutcome MakeRowScanOutcome(const v1::RowScanWork& work,
                                      const std::string& vector_version,
                                      std::span<const VectorPart> parts,
                                      const RowFindings& findings, std::span<const int64_t> lines);

// Scans the rows by the vector, which is folded into `folded`; the suspicious ones by each of its
// parts alone, too, where it is a sum. Enters the phase. Errors: INPUT_INVALID for rows that cannot
// be scanned; SECURITY_VECTOR_ALTERED for parts that are not the vector's; CANCELLED.
absl::StatusOr<v1::RowScanOutcome> ScanDataset(Attempt& attempt, const v1::FineTuningWork& work,
                                               const DecoderModel& base, const DecoderModel& folded,
                                               const SecurityVector& vector,
                                               const EncodedDataset& dataset);

// FAILED_PRECONDITION with the job's reason ROWS_SUSPICIOUS, naming counts, categories and, unless
// the terms hide them, lines, when the terms refuse the job or no row is left.
absl::Status RefuseSuspicious(const v1::RowScanWork& work, const v1::RowScanReport& report);

// Takes the dropped rows out of `dataset`.
// Errors: DATA_LOSS with INPUT_DAMAGED when the outcome is of other rows.
absl::Status DropRows(const v1::RowScanOutcome& outcome, EncodedDataset& dataset);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_AGENT_ROW_SCAN_STAGE_H_
