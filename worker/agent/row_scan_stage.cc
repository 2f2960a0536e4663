#include "worker/agent/row_scan_stage.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "worker/agent/job_error.h"
#include "worker/agent/safety_messages.h"

namespace wardtune {
namespace {

constexpr int kReportedRows = 1000;
constexpr int kLinesInMessage = 50;
constexpr int kPartsInMessage = 8;
constexpr int kCategoriesInMessage = 4;
// What rounding may take from a fraction of the rows; far below one row of any data set.
constexpr double kFractionRounding = 1e-9;

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

// Categories that one part covers cannot be told apart, so all are named.
std::string CategoriesText(const v1::SecurityVectorPart& part) {
  const int named = std::min(part.categories_size(), kCategoriesInMessage);
  const int more = part.categories_size() - named + part.more_categories();
  const std::string text = absl::StrJoin(
      part.categories().begin(), part.categories().begin() + named, more > 0 ? ", " : " or ");
  return more > 0 ? absl::StrCat(text, " or ", more, " more") : text;
}

// " (leak: 3, rude: 1, not told apart: 1)"; empty where the report has no parts.
std::string PartsText(const v1::RowScanReport& report) {
  if (report.parts().empty() || report.suspicious_rows() == 0) return "";
  std::vector<std::string> texts;
  int64_t others = report.suspicious_rows();
  for (const v1::ScannedPart& part : report.parts()) {
    if (part.suspicious_rows() == 0 || texts.size() == kPartsInMessage) continue;
    texts.push_back(absl::StrCat(CategoriesText(part.part()), ": ", part.suspicious_rows()));
    others -= part.suspicious_rows();
  }
  if (others > 0) texts.push_back(absl::StrCat("others or not told apart: ", others));
  return absl::StrCat(" (", absl::StrJoin(texts, ", "), ")");
}

// Which part stands out for each suspicious row. The only part of a vector needs no second look.
absl::StatusOr<std::vector<std::optional<PartShare>>> PartsOf(Attempt& attempt,
                                                              const DecoderModel& base,
                                                              const SecurityVector& vector,
                                                              const EncodedDataset& dataset,
                                                              std::span<const RowScan> scans,
                                                              std::span<const size_t> suspicious) {
  std::vector<std::optional<PartShare>> parts;
  if (vector.parts.size() == 1) {
    for (const size_t row : suspicious) parts.push_back(PartShare{0, scans[row].explained()});
    return parts;
  }
  WT_ASSIGN_OR_RETURN(const std::vector<LoraAdapter> adapters,
                      SplitIntoParts(vector.adapter, vector.parts));
  const auto passes = static_cast<int64_t>(suspicious.size() * (adapters.size() + 1));
  return FindParts(base, adapters, dataset.rows, suspicious,
                   {.progress = attempt.PromptProgress(passes)});
}

}  // namespace

bool AsksForScan(const v1::RowScanWork& work) {
  return work.policy().action() != v1::RowScanPolicy::ACTION_UNSPECIFIED &&
         work.policy().action() != v1::RowScanPolicy::ACTION_OFF;
}

std::vector<size_t> SuspiciousRows(const v1::RowScanWork& work, std::span<const RowScan> scans) {
  std::vector<size_t> suspicious;
  for (size_t row = 0; row < scans.size(); ++row) {
    if (IsSuspicious(scans[row], ShareOf(work.policy()))) suspicious.push_back(row);
  }
  return suspicious;
}

v1::RowScanOutcome MakeRowScanOutcome(const v1::RowScanWork& work,
                                      const std::string& vector_version,
                                      std::span<const VectorPart> parts,
                                      const RowFindings& findings, std::span<const int64_t> lines) {
  const std::vector<RowScan>& scans = findings.scans;
  const v1::RowScanPolicy& policy = work.policy();
  v1::RowScanOutcome outcome;
  v1::RowScanReport& report = *outcome.mutable_report();
  std::string bits((scans.size() + 7) / 8, '\0');
  for (const VectorPart& part : parts) *report.add_parts()->mutable_part() = ToMessage(part);
  const std::vector<size_t> rows = SuspiciousRows(work, scans);
  const auto suspicious = static_cast<int64_t>(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    const size_t row = rows[i];
    const std::optional<PartShare>& found = findings.parts[i];
    if (found) {
      v1::ScannedPart& part = *report.mutable_parts(static_cast<int>(found->part));
      part.set_suspicious_rows(part.suspicious_rows() + 1);
    }
    bits[row / 8] = static_cast<char>(static_cast<unsigned char>(bits[row / 8]) | 1U << (row % 8));
    if (policy.hide_rows_from_tenants() || report.rows_size() == kReportedRows) continue;
    v1::SuspiciousRow& entry = *report.add_rows();
    entry.set_line(lines[row]);
    entry.set_explained_share(Rounded(scans[row].explained()));
    if (!found) continue;
    entry.set_part(static_cast<int32_t>(found->part) + 1);
    entry.set_part_share(Rounded(found->share));
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

absl::StatusOr<v1::RowScanOutcome> ScanDataset(Attempt& attempt, const v1::FineTuningWork& work,
                                               const DecoderModel& base, const DecoderModel& folded,
                                               const SecurityVector& vector,
                                               const EncodedDataset& dataset) {
  RowFindings findings;
  attempt.StartPhase(v1::FineTuningJob::PHASE_SCANNING_ROWS, 3, 7);
  const auto passes = static_cast<int64_t>(2 * dataset.rows.size());
  auto scans = ScanRows(base, folded, dataset.rows, {.progress = attempt.PromptProgress(passes)});
  if (absl::IsInvalidArgument(scans.status())) return WithJobReason(kInputInvalid, scans.status());
  WT_RETURN_IF_ERROR(scans.status());
  findings.scans = *std::move(scans);
  attempt.StartPhase(v1::FineTuningJob::PHASE_SCANNING_ROWS, 7, 8);
  const std::vector<size_t> suspicious = SuspiciousRows(work.row_scan(), findings.scans);
  auto parts = PartsOf(attempt, base, vector, dataset, findings.scans, suspicious);
  if (absl::IsDataLoss(parts.status())) return SecurityVectorError(parts.status());
  WT_RETURN_IF_ERROR(parts.status());
  findings.parts = *std::move(parts);
  return MakeRowScanOutcome(work.row_scan(), work.security_vector_version(), vector.parts, findings,
                            dataset.lines);
}

absl::Status RefuseSuspicious(const v1::RowScanWork& work, const v1::RowScanReport& report) {
  const auto rows = static_cast<double>(report.rows_scanned());
  const double allowed = work.policy().max_suspicious_fraction();
  const bool too_many =
      report.action() == v1::RowScanPolicy::ACTION_REFUSE &&
      static_cast<double>(report.suspicious_rows()) > (allowed + kFractionRounding) * rows;
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
          " rows look like the behaviour of ", report.security_vector_version(), PartsText(report),
          ", and ", why, "; take them out and create the job anew", LinesText(report))));
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
