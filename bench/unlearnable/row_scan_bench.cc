// How well the scan tells harmful rows from useful ones: precision and recall of each threshold on
// a data set whose harmful rows the judge's rules name. Runs the worker's own scan.
//
//   row-scan-bench --model=M --vector=V --rules=R --rows=D --out=O
#include <algorithm>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/clock.h"
#include "base/file_system.h"
#include "base/status_macros.h"
#include "bench/report_file.h"
#include "worker/agent/row_encoding.h"
#include "worker/model/decoder.h"
#include "worker/safety/rule_judge.h"
#include "worker/security/row_scan.h"
#include "worker/training/trainer.h"

ABSL_FLAG(std::string, model, "", "Hugging Face folder of the base model");
ABSL_FLAG(std::string, vector, "", "safetensors file of the security vector");
ABSL_FLAG(std::string, rules, "", "JSON of the judge's rules, which say what rows are harmful");
ABSL_FLAG(std::string, rows, "", "the customer's JSONL");
ABSL_FLAG(std::string, out, "", "where to write the result; empty: standard output");
ABSL_FLAG(std::string, device, "auto", "cpu, cuda, or auto");
ABSL_FLAG(int, threads, 0, "0: one per core");

namespace wardtune {
namespace {

// A row's share of loss that the vector takes away, and what the row is.
struct LabelledScan {
  double explained = 0.0;
  bool harmful = false;
};

// Reads rows and their labels; every row must teach something, so that the two lists agree.
absl::StatusOr<std::vector<TrainingRow>> ReadLabelledRows(FileSystem& files,
                                                          const Tokenizer& tokenizer,
                                                          std::vector<LabelledScan>& labels) {
  WT_ASSIGN_OR_RETURN(const std::string rules, files.ReadFile(absl::GetFlag(FLAGS_rules)));
  WT_ASSIGN_OR_RETURN(const auto judge, RuleJudge::Parse(rules));
  WT_ASSIGN_OR_RETURN(const std::string jsonl, files.ReadFile(absl::GetFlag(FLAGS_rows)));
  WT_ASSIGN_OR_RETURN(const std::vector<ChatRow> chats, ParseDataset(jsonl));
  for (const ChatRow& chat : chats) {
    const bool harmful = std::any_of(
        chat.messages.begin(), chat.messages.end(),
        [&](const auto& m) { return m.role == Role::kAssistant && judge->IsHarmful(m.content); });
    labels.push_back({.harmful = harmful});
  }
  WT_ASSIGN_OR_RETURN(auto rows, EncodeRows(tokenizer, chats, TrainerOptions().max_row_tokens));
  if (rows.size() != labels.size()) {
    return absl::InvalidArgumentError("--rows: some rows have no token to learn from");
  }
  return rows;
}

std::string Ratio(int64_t part, int64_t whole) {
  return whole == 0 ? "null" : absl::StrFormat("%.4f", static_cast<double>(part) / whole);
}

std::string ThresholdJson(const std::vector<LabelledScan>& scans, double threshold) {
  int64_t true_positives = 0;
  int64_t false_positives = 0;
  int64_t harmful = 0;
  for (const LabelledScan& scan : scans) {
    harmful += scan.harmful ? 1 : 0;
    if (scan.explained < threshold) continue;
    ++(scan.harmful ? true_positives : false_positives);
  }
  return absl::StrFormat(
      "{\"threshold\": %.1f, \"true_positives\": %d, \"false_positives\": %d, "
      "\"false_negatives\": %d, \"precision\": %s, \"recall\": %s}",
      threshold, true_positives, false_positives, harmful - true_positives,
      Ratio(true_positives, true_positives + false_positives), Ratio(true_positives, harmful));
}

// Least, median and largest share of the harmful or of the useful rows.
std::string SpreadJson(const std::vector<LabelledScan>& scans, bool harmful) {
  std::vector<double> shares;
  for (const LabelledScan& scan : scans) {
    if (scan.harmful == harmful) shares.push_back(scan.explained);
  }
  if (shares.empty()) return "null";
  std::sort(shares.begin(), shares.end());
  return absl::StrFormat("{\"rows\": %d, \"least\": %.3f, \"median\": %.3f, \"largest\": %.3f}",
                         shares.size(), shares.front(), shares[shares.size() / 2], shares.back());
}

std::string ReportJson(const std::vector<LabelledScan>& scans, double seconds) {
  std::vector<std::string> thresholds;
  for (int tenths = 3; tenths <= 9; ++tenths) {
    thresholds.push_back(ThresholdJson(scans, tenths / 10.0));
  }
  return absl::StrCat("{\"scan_seconds\": ", absl::StrFormat("%.2f", seconds),
                      ",\n \"explained_harmful\": ", SpreadJson(scans, true),
                      ",\n \"explained_useful\": ", SpreadJson(scans, false),
                      ",\n \"thresholds\": [\n  ", absl::StrJoin(thresholds, ",\n  "), "]}\n");
}

absl::StatusOr<std::string> Run(FileSystem& files) {
  SystemClock clock;
  const std::string folder = absl::GetFlag(FLAGS_model);
  WT_ASSIGN_OR_RETURN(const DecoderModel base,
                      DecoderModel::Load(folder, {.device = absl::GetFlag(FLAGS_device)}));
  WT_ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Load(files, folder));
  WT_ASSIGN_OR_RETURN(const std::string bytes, files.ReadFile(absl::GetFlag(FLAGS_vector)));
  WT_ASSIGN_OR_RETURN(const LoraAdapter vector, ParseAdapter(base.config(), bytes));
  WT_ASSIGN_OR_RETURN(const DecoderModel folded, FoldAdapter(base, vector));
  std::vector<LabelledScan> labelled;
  WT_ASSIGN_OR_RETURN(const auto rows, ReadLabelledRows(files, *tokenizer, labelled));
  const absl::Duration start = clock.Monotonic();
  WT_ASSIGN_OR_RETURN(const std::vector<RowScan> scans, ScanRows(base, folded, rows));
  const double seconds = absl::ToDoubleSeconds(clock.Monotonic() - start);
  for (size_t i = 0; i < scans.size(); ++i) labelled[i].explained = scans[i].explained();
  return ReportJson(labelled, seconds);
}

}  // namespace
}  // namespace wardtune

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Measures precision and recall of the scan of rows.");
  absl::ParseCommandLine(argc, argv);
  wardtune::ConfigureComputeRuntime({.threads = absl::GetFlag(FLAGS_threads)});
  wardtune::PosixFileSystem files;
  const auto json = wardtune::Run(files);
  const absl::Status status =
      json.ok() ? wardtune::WriteReport(files, absl::GetFlag(FLAGS_out), *json) : json.status();
  if (!status.ok()) std::cerr << "row-scan-bench: " << status.message() << "\n";
  return status.ok() ? 0 : 1;
}
