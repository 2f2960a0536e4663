// What becomes of a customer's rows once they are scanned by the security vector: the report, the
// rows that are left out, the refusal. Holds lines and counts, never a row's text.
// Thread safety: pure functions.
#ifndef WARDTUNE_WORKER_AGENT_ROW_SCAN_STAGE_H_
#define WARDTUNE_WORKER_AGENT_ROW_SCAN_STAGE_H_

#include <cstdint>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "wardtune/v1/worker_service.pb.h"
#include "worker/agent/row_encoding.h"
#include "worker/security/row_scan.h"

namespace wardtune {

// Whether the lease's terms ask for a scan.
bool AsksForScan(const v1::RowScanWork& work);

// The outcome under the lease's terms. `lines` are those of the scanned rows.
// REQUIRES: as many lines as scans.
v1::RowScanOutcome MakeRowScanOutcome(const v1::RowScanWork& work,
                                      const std::string& vector_version,
                                      std::span<const RowScan> scans,
                                      std::span<const int64_t> lines);

// FAILED_PRECONDITION with the job's reason ROWS_SUSPICIOUS, naming counts and, unless the terms
// hide them, lines, when the terms refuse the job or no row is left.
absl::Status RefuseSuspicious(const v1::RowScanWork& work, const v1::RowScanReport& report);

// Takes the dropped rows out of `dataset`.
// Errors: DATA_LOSS with INPUT_DAMAGED when the outcome is of other rows.
absl::Status DropRows(const v1::RowScanOutcome& outcome, EncodedDataset& dataset);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_AGENT_ROW_SCAN_STAGE_H_
