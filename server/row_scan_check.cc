#include "server/row_scan_check.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/handlers/resource_messages.h"
#include "server/resource_names.h"
#include "server/rpc/error_details.h"
#include "server/server_limits.h"

namespace wardtune {
namespace {

constexpr int64_t kMaxReportedRows = 1000;

constexpr size_t kMaxPartCategoryBytes = 63;

bool SamePart(const v1::SecurityVectorPart& a, const v1::SecurityVectorPart& b) {
  return a.SerializeAsString() == b.SerializeAsString();
}

absl::Status Unless(bool holds, const char* field, const char* description) {
  if (holds) return absl::OkStatus();
  return InvalidField(absl::StrCat("row_scan.", field), description);
}

bool WithinTerms(const v1::RowScanReport& report, const v1::RowScanWork& terms) {
  const v1::RowScanPolicy& policy = terms.policy();
  const double share = policy.suspicious_share();
  return report.action() == policy.action() && report.policy_version() == terms.policy_version() &&
         report.rows_hidden() == policy.hide_rows_from_tenants() &&
         (share > 0 ? report.suspicious_share() == share
                    : report.suspicious_share() > 0 && report.suspicious_share() <= 1);
}

absl::Status CheckCounts(const v1::RowScanReport& report) {
  WT_RETURN_IF_ERROR(Unless(report.rows_scanned() >= 1, "report.rows_scanned", "must be above 0"));
  WT_RETURN_IF_ERROR(
      Unless(report.suspicious_rows() >= 0 && report.suspicious_rows() <= report.rows_scanned(),
             "report.suspicious_rows", "must be between 0 and the rows scanned"));
  const bool drops = report.action() == v1::RowScanPolicy::ACTION_DROP;
  return Unless(report.dropped_rows() == (drops ? report.suspicious_rows() : 0),
                "report.dropped_rows", "must be all suspicious rows when they are dropped, else 0");
}

absl::Status CheckRows(const v1::RowScanReport& report) {
  const int64_t wanted =
      report.rows_hidden() ? 0 : std::min(report.suspicious_rows(), kMaxReportedRows);
  WT_RETURN_IF_ERROR(Unless(report.rows_size() == wanted, "report.rows",
                            "must be the first 1000 suspicious rows, or none when hidden"));
  int64_t line = 0;
  for (const v1::SuspiciousRow& row : report.rows()) {
    WT_RETURN_IF_ERROR(Unless(row.line() > line, "report.rows.line", "must rise from 1"));
    WT_RETURN_IF_ERROR(Unless(std::isfinite(row.explained_share()) && row.explained_share() <= 1,
                              "report.rows.explained_share", "must be at most 1"));
    line = row.line();
  }
  return absl::OkStatus();
}

// The parts are those of the version, and what they explain adds up. A report without any is of a
// worker from before there were parts.
absl::Status CheckParts(const v1::RowScanReport& report, const LeaseRecord& lease) {
  const auto version = ParseStored<v1::SecurityVectorVersion>(lease.vector_parts);
  google::protobuf::RepeatedPtrField<v1::SecurityVectorPart> parts;
  int64_t explained = 0;
  bool counts_hold = true;
  for (const v1::ScannedPart& part : report.parts()) {
    *parts.Add() = part.part();
    counts_hold = counts_hold && part.suspicious_rows() >= 0 &&
                  part.suspicious_rows() <= report.suspicious_rows() - explained;
    explained += counts_hold ? part.suspicious_rows() : 0;
  }
  WT_RETURN_IF_ERROR(Unless(AreParts(parts), "report.parts", "are too many or too large"));
  WT_RETURN_IF_ERROR(Unless(parts.empty() || version.parts().empty() ||
                                std::equal(parts.begin(), parts.end(), version.parts().begin(),
                                           version.parts().end(), SamePart),
                            "report.parts", "are not those of the version"));
  return Unless(counts_hold, "report.parts.suspicious_rows",
                "must add up to at most the suspicious rows");
}

// Each row's part is one of the report's, whose count covers the rows that are listed.
absl::Status CheckPartsOfRows(const v1::RowScanReport& report) {
  std::vector<int64_t> listed(static_cast<size_t>(report.parts_size()) + 1);
  for (const v1::SuspiciousRow& row : report.rows()) {
    WT_RETURN_IF_ERROR(Unless(row.part() >= 0 && row.part() <= report.parts_size(),
                              "report.rows.part", "must be the position of a part, or 0"));
    WT_RETURN_IF_ERROR(Unless(std::isfinite(row.part_share()) && row.part_share() <= 1 &&
                                  (row.part() > 0 || row.part_share() == 0),
                              "report.rows.part_share", "must be at most 1, and 0 without a part"));
    ++listed[static_cast<size_t>(row.part())];
  }
  const bool all_listed = report.rows_size() == report.suspicious_rows();
  for (int i = 0; i < report.parts_size(); ++i) {
    const int64_t counted = report.parts(i).suspicious_rows();
    const int64_t rows = listed[static_cast<size_t>(i) + 1];
    WT_RETURN_IF_ERROR(Unless(rows == counted || (!all_listed && rows < counted),
                              "report.parts.suspicious_rows", "must count the rows of the part"));
  }
  return absl::OkStatus();
}

absl::Status CheckDropped(const v1::RowScanOutcome& outcome) {
  const int64_t rows = outcome.report().rows_scanned();
  const int64_t bytes = outcome.report().dropped_rows() > 0 ? (rows + 7) / 8 : 0;
  WT_RETURN_IF_ERROR(Unless(static_cast<int64_t>(outcome.dropped().size()) == bytes, "dropped",
                            "must have one bit a scanned row, or none when none is dropped"));
  int64_t set = 0;
  for (const char byte : outcome.dropped()) set += std::popcount(static_cast<unsigned char>(byte));
  WT_RETURN_IF_ERROR(Unless(set == outcome.report().dropped_rows(), "dropped",
                            "must have a bit set for each dropped row"));
  if (rows % 8 == 0 || bytes == 0) return absl::OkStatus();
  const auto last = static_cast<unsigned char>(outcome.dropped().back());
  return Unless(last >> (rows % 8) == 0, "dropped", "must not name rows past the last");
}

}  // namespace

bool AreParts(const google::protobuf::RepeatedPtrField<v1::SecurityVectorPart>& parts) {
  return parts.size() <= kMaxVectorParts &&
         std::all_of(parts.begin(), parts.end(), [](const v1::SecurityVectorPart& part) {
           return !part.categories().empty() && part.categories_size() <= kMaxPartCategories &&
                  part.more_categories() >= 0 &&
                  std::all_of(part.categories().begin(), part.categories().end(),
                              [](const std::string& category) {
                                return !category.empty() &&
                                       category.size() <= kMaxPartCategoryBytes;
                              });
         });
}

std::optional<v1::RowScanWork> ScanTerms(const LeaseRecord& lease) {
  if (!lease.scan_policy.has_value()) return std::nullopt;
  const v1::SafetyPolicy policy = ToMessage(*lease.scan_policy);
  if (policy.row_scan().action() == v1::RowScanPolicy::ACTION_UNSPECIFIED ||
      policy.row_scan().action() == v1::RowScanPolicy::ACTION_OFF) {
    return std::nullopt;
  }
  v1::RowScanWork terms;
  *terms.mutable_policy() = policy.row_scan();
  terms.set_policy_version(policy.version());
  return terms;
}

absl::StatusOr<RowScanRecord> CheckRowScan(const v1::RowScanOutcome& outcome,
                                           const LeaseRecord& lease) {
  const v1::RowScanReport& report = outcome.report();
  if (!outcome.has_report()) {
    WT_RETURN_IF_ERROR(Unless(outcome.dropped().empty(), "report", "is missing"));
    return RowScanRecord();
  }
  const std::optional<v1::RowScanWork> terms = ScanTerms(lease);
  WT_RETURN_IF_ERROR(Unless(terms.has_value(), "report", "must be left out: no scan is asked for"));
  WT_RETURN_IF_ERROR(
      Unless(WithinTerms(report, *terms), "report", "is not by the terms of the lease"));
  WT_RETURN_IF_ERROR(Unless(
      report.security_vector_version() == SecurityVectorName(lease.job.vector, lease.job.version),
      "report.security_vector_version", "is not the version that the job is pinned to"));
  WT_RETURN_IF_ERROR(CheckCounts(report));
  WT_RETURN_IF_ERROR(CheckRows(report));
  WT_RETURN_IF_ERROR(CheckParts(report, lease));
  WT_RETURN_IF_ERROR(CheckPartsOfRows(report));
  WT_RETURN_IF_ERROR(CheckDropped(outcome));
  return RowScanRecord{report.SerializeAsString(), outcome.dropped()};
}

void CountScannedRows(const v1::RowScanReport& report, ServerMetrics& metrics) {
  metrics.AddScannedRows(report.rows_scanned(), report.suspicious_rows());
}

}  // namespace wardtune
