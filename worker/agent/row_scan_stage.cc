#include "worker/agent/row_scan_stage.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "worker/agent/job_error.h"

namespace wardtune {
namespace {

constexpr int kReportedRows = 1000;
constexpr int kLinesInMessage = 50;

double ShareOf(const v1::RowScanPolicy& policy) {
  return policy.suspicious_share() > 0.0 ? policy.suspicious_share() : kSuspiciousShare;
}

// In hundredths; 1 for what is no number.
double Rounded(double share) {
  return std::isfinite(share) ? std::round(share * 100.0) / 100.0 : 1.0;
}

bool IsDropped(const std::string& bits, size_t row) {
  return (static_cast<unsigned char>(bits[row / 8]) >> (row % 8) & 1U) != 0;
}

std::string LinesText(const v1::RowScanReport& report) {
  std::string text;
  const int named = std::min(report.rows_size(), kLinesInMessage);
  for (int i = 0; i < named; ++i) {
    absl::StrAppend(&text, i == 0 ? "; lines " : ", ", report.rows(i).line());
  }
  if (named > 0 && report.suspicious_rows() > named) {
    absl::StrAppend(&text, " and ", report.suspicious_rows() - named, " more");
  }
  return text;
}

}  // namespace

bool AsksForScan(const v1::RowScanWork& work) {
  return work.policy().action() != v1::RowScanPolicy::ACTION_UNSPECIFIED &&
         work.policy().action() != v1::RowScanPolicy::ACTION_OFF;
}

v1::RowScanOutcome MakeRowScanOutcome(const v1::RowScanWork& work,
                                      const std::string& vector_version,
                                      std::span<const RowScan> scans,
                                      std::span<const int64_t> lines) {
  const v1::RowScanPolicy& policy = work.policy();
  v1::RowScanOutcome outcome;
  v1::RowScanReport& report = *outcome.mutable_report();
  std::string bits((scans.size() + 7) / 8, '\0');
  int64_t suspicious = 0;
  for (size_t row = 0; row < scans.size(); ++row) {
    if (!IsSuspicious(scans[row], ShareOf(policy))) continue;
    ++suspicious;
    bits[row / 8] = static_cast<char>(static_cast<unsigned char>(bits[row / 8]) | 1U << (row % 8));
    if (policy.hide_rows_from_tenants() || report.rows_size() == kReportedRows) continue;
    v1::SuspiciousRow& entry = *report.add_rows();
    entry.set_line(lines[row]);
    entry.set_explained_share(Rounded(scans[row].explained()));
  }
  report.set_rows_scanned(static_cast<int64_t>(scans.size()));
  report.set_suspicious_rows(suspicious);
  report.set_action(policy.action());
  report.set_suspicious_share(ShareOf(policy));
  report.set_rows_hidden(policy.hide_rows_from_tenants());
  report.set_security_vector_version(vector_version);
  report.set_policy_version(work.policy_version());
  if (policy.action() == v1::RowScanPolicy::ACTION_DROP && suspicious > 0) {
    report.set_dropped_rows(suspicious);
    outcome.set_dropped(std::move(bits));
  }
  return outcome;
}

absl::Status RefuseSuspicious(const v1::RowScanWork& work, const v1::RowScanReport& report) {
  const auto rows = static_cast<double>(report.rows_scanned());
  const double allowed = work.policy().max_suspicious_fraction();
  const bool too_many = report.action() == v1::RowScanPolicy::ACTION_REFUSE &&
                        static_cast<double>(report.suspicious_rows()) > allowed * rows;
  const bool none_left =
      report.dropped_rows() > 0 && report.dropped_rows() == report.rows_scanned();
  if (!too_many && !none_left) return absl::OkStatus();
  const std::string why =
      none_left ? std::string("no other row is left to train on")
                : absl::StrCat("the provider's policy allows ", 100.0 * allowed, "% of the rows");
  return WithJobReason(
      kRowsSuspicious,
      absl::FailedPreconditionError(absl::StrCat(
          report.suspicious_rows(), " of ", report.rows_scanned(),
          " rows look like the behaviour of ", report.security_vector_version(), ", and ", why,
          "; take them out and create the job anew", LinesText(report))));
}

absl::Status DropRows(const v1::RowScanOutcome& outcome, EncodedDataset& dataset) {
  const size_t rows = dataset.rows.size();
  const std::string& bits = outcome.dropped();
  if (static_cast<uint64_t>(outcome.report().rows_scanned()) != rows ||
      (!bits.empty() && bits.size() != (rows + 7) / 8)) {
    return WithJobReason(kInputDamaged,
                         absl::DataLossError(absl::StrCat(
                             "the recorded scan is of ", outcome.report().rows_scanned(),
                             " rows, the data set has ", rows, "; create the job anew")));
  }
  if (bits.empty()) return absl::OkStatus();
  EncodedDataset kept;
  for (size_t row = 0; row < rows; ++row) {
    if (IsDropped(bits, row)) continue;
    kept.rows.push_back(std::move(dataset.rows[row]));
    kept.lines.push_back(dataset.lines[row]);
  }
  dataset = std::move(kept);
  return absl::OkStatus();
}

}  // namespace wardtune
