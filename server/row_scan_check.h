// What a worker's scan of a customer's rows must hold before it is stored and shown.
// Thread safety: re-entrant functions.
#ifndef WARDTUNE_SERVER_ROW_SCAN_CHECK_H_
#define WARDTUNE_SERVER_ROW_SCAN_CHECK_H_

#include <optional>

#include "absl/status/statusor.h"
#include "server/rpc/server_metrics.h"
#include "storage/records.h"
#include "wardtune/v1/worker_service.pb.h"

namespace wardtune {

// What the lease tells the worker about the scan, without what earlier attempts found; nothing when
// no scan is asked for.
std::optional<v1::RowScanWork> ScanTerms(const LeaseRecord& lease);

// The outcome as it is stored; an outcome without a report becomes an empty record.
// Errors: INVALID_ARGUMENT naming the field under `row_scan` that is not within the lease's terms,
// or contradicts another.
absl::StatusOr<RowScanRecord> CheckRowScan(const v1::RowScanOutcome& outcome,
                                           const LeaseRecord& lease);

// Whether there are at most 64, each with 1 to 32 categories of 1 to 63 bytes.
bool AreParts(const google::protobuf::RepeatedPtrField<v1::SecurityVectorPart>& parts);

// Counts the rows of a job that has ended.
void CountScannedRows(const v1::RowScanReport& report, ServerMetrics& metrics);

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_ROW_SCAN_CHECK_H_
