// How well the scan tells harmful rows from useful ones: precision and recall of each threshold on
// a data set whose harmful rows the judge's rules name. With the vectors of several behaviours,
// also how often the part that the scan names is that of the row. Runs the worker's own scan.
//
//   row-scan-bench --model=M --vectors=V,.. --rules=R,.. --behaviours=NAME,.. --rows=D --out=O
#include <algorithm>
#include <iostream>
#include <memory>
#include <optional>
#include <span>
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
#include "worker/security/sum_vectors.h"
#include "worker/training/trainer.h"

ABSL_FLAG(std::string, model, "", "Hugging Face folder of the base model");
ABSL_FLAG(std::vector<std::string>, vectors, {}, "safetensors file of each behaviour's vector");
ABSL_FLAG(std::vector<std::string>, rules, {},
          "JSON of the rules that name each behaviour's rows; the first that fits counts");
ABSL_FLAG(std::vector<std::string>, behaviours, {}, "names for the report");
ABSL_FLAG(std::string, rows, "", "the customer's JSONL");
ABSL_FLAG(std::string, out, "", "where to write the result; empty: standard output");
ABSL_FLAG(std::string, device, "auto", "cpu, cuda, or auto");
ABSL_FLAG(int, threads, 0, "0: one per core");

namespace wardtune {
namespace {

// What the scan says of a row, and what the row is.
struct LabelledScan {
  double explained = 0.0;
  std::optional<size_t> behaviour;  // none: useful
  bool suspicious = false;
  std::optional<size_t> part;  // of a suspicious row, where one stands out
};

absl::StatusOr<std::vector<std::unique_ptr<RuleJudge>>> ReadJudges(FileSystem& files) {
  std::vector<std::unique_ptr<RuleJudge>> judges;
  for (const std::string& file : absl::GetFlag(FLAGS_rules)) {
    WT_ASSIGN_OR_RETURN(const std::string rules, files.ReadFile(file));
    WT_ASSIGN_OR_RETURN(judges.emplace_back(), RuleJudge::Parse(rules));
  }
  return judges;
}

bool HasHarmfulAnswer(const RuleJudge& judge, const ChatRow& chat) {
  return std::any_of(chat.messages.begin(), chat.messages.end(), [&](const auto& m) {
    return m.role == Role::kAssistant && judge.IsHarmful(m.content);
  });
}

// Reads rows and their labels; every row must teach something, so that the two lists agree.
absl::StatusOr<std::vector<TrainingRow>> ReadLabelledRows(FileSystem& files,
                                                          const Tokenizer& tokenizer,
                                                          std::vector<LabelledScan>& labels) {
  WT_ASSIGN_OR_RETURN(const auto judges, ReadJudges(files));
  WT_ASSIGN_OR_RETURN(const std::string jsonl, files.ReadFile(absl::GetFlag(FLAGS_rows)));
  WT_ASSIGN_OR_RETURN(const std::vector<ChatRow> chats, ParseDataset(jsonl));
  for (const ChatRow& chat : chats) {
    LabelledScan& label = labels.emplace_back();
    for (size_t i = 0; i < judges.size() && !label.behaviour; ++i) {
      if (HasHarmfulAnswer(*judges[i], chat)) label.behaviour = i;
    }
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
    harmful += scan.behaviour ? 1 : 0;
    if (scan.explained < threshold) continue;
    ++(scan.behaviour ? true_positives : false_positives);
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
    if (scan.behaviour.has_value() == harmful) shares.push_back(scan.explained);
  }
  if (shares.empty()) return "null";
  std::sort(shares.begin(), shares.end());
  return absl::StrFormat("{\"rows\": %d, \"least\": %.3f, \"median\": %.3f, \"largest\": %.3f}",
                         shares.size(), shares.front(), shares[shares.size() / 2], shares.back());
}

// Of the rows of one behaviour, or of the useful ones: which part the scan names, where there are
// several.
std::string NamedPartsJson(const std::vector<LabelledScan>& scans, std::optional<size_t> behaviour,
                           const std::vector<std::string>& names) {
  int64_t rows = 0;
  int64_t suspicious = 0;
  std::vector<int64_t> named(names.size(), 0);
  for (const LabelledScan& scan : scans) {
    if (scan.behaviour != behaviour) continue;
    ++rows;
    suspicious += scan.suspicious ? 1 : 0;
    if (scan.part) ++named[*scan.part];
  }
  std::vector<std::string> counts;
  for (size_t i = 0; i < names.size(); ++i) {
    counts.push_back(absl::StrFormat("\"%s\": %d", names[i], named[i]));
  }
  return absl::StrFormat(
      "\"%s\": {\"rows\": %d, \"suspicious\": %d%s}", behaviour ? names[*behaviour] : "useful",
      rows, suspicious,
      names.size() > 1 ? absl::StrCat(", \"named\": {", absl::StrJoin(counts, ", "), "}") : "");
}

std::string ReportJson(const std::vector<LabelledScan>& scans, double seconds) {
  std::vector<std::string> thresholds;
  for (int tenths = 3; tenths <= 9; ++tenths) {
    thresholds.push_back(ThresholdJson(scans, tenths / 10.0));
  }
  const std::vector<std::string> names = absl::GetFlag(FLAGS_behaviours);
  std::vector<std::string> parts = {NamedPartsJson(scans, std::nullopt, names)};
  for (size_t i = 0; i < names.size(); ++i) parts.push_back(NamedPartsJson(scans, i, names));
  return absl::StrCat("{\"scan_seconds\": ", absl::StrFormat("%.2f", seconds),
                      ",\n \"explained_harmful\": ", SpreadJson(scans, true),
                      ",\n \"explained_useful\": ", SpreadJson(scans, false),
                      ",\n \"thresholds\": [\n  ", absl::StrJoin(thresholds, ",\n  "),
                      "],\n \"parts\": {\n  ", absl::StrJoin(parts, ",\n  "), "}}\n");
}

absl::StatusOr<std::vector<LoraAdapter>> ReadVectors(FileSystem& files, const ModelConfig& config) {
  std::vector<LoraAdapter> vectors;
  for (const std::string& file : absl::GetFlag(FLAGS_vectors)) {
    WT_ASSIGN_OR_RETURN(const std::string bytes, files.ReadFile(file));
    WT_ASSIGN_OR_RETURN(vectors.emplace_back(), ParseAdapter(config, bytes));
  }
  if (vectors.empty() || vectors.size() != absl::GetFlag(FLAGS_rules).size() ||
      vectors.size() != absl::GetFlag(FLAGS_behaviours).size()) {
    return absl::InvalidArgumentError(
        "--vectors, --rules, --behaviours: name as many, one at least");
  }
  return vectors;
}

// Names the part of each suspicious row, as the worker does for a vector of several parts.
absl::Status NameParts(const DecoderModel& base, std::span<const LoraAdapter> vectors,
                       std::span<const TrainingRow> rows, std::vector<LabelledScan>& scans) {
  std::vector<size_t> suspicious;
  for (size_t i = 0; i < scans.size(); ++i) {
    if (scans[i].suspicious) suspicious.push_back(i);
  }
  WT_ASSIGN_OR_RETURN(const auto parts, FindParts(base, vectors, rows, suspicious));
  for (size_t i = 0; i < suspicious.size(); ++i) {
    if (parts[i]) scans[suspicious[i]].part = parts[i]->part;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Run(FileSystem& files) {
  SystemClock clock;
  const std::string folder = absl::GetFlag(FLAGS_model);
  WT_ASSIGN_OR_RETURN(const DecoderModel base,
                      DecoderModel::Load(folder, {.device = absl::GetFlag(FLAGS_device)}));
  WT_ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Load(files, folder));
  WT_ASSIGN_OR_RETURN(const std::vector<LoraAdapter> vectors, ReadVectors(files, base.config()));
  WT_ASSIGN_OR_RETURN(const LoraAdapter sum, SumVectors(vectors));
  WT_ASSIGN_OR_RETURN(const DecoderModel folded, FoldAdapter(base, sum));
  std::vector<LabelledScan> labelled;
  WT_ASSIGN_OR_RETURN(const auto rows, ReadLabelledRows(files, *tokenizer, labelled));
  const absl::Duration start = clock.Monotonic();
  WT_ASSIGN_OR_RETURN(const std::vector<RowScan> scans, ScanRows(base, folded, rows));
  for (size_t i = 0; i < scans.size(); ++i) {
    labelled[i].explained = scans[i].explained();
    labelled[i].suspicious = IsSuspicious(scans[i]);
  }
  if (vectors.size() > 1) WT_RETURN_IF_ERROR(NameParts(base, vectors, rows, labelled));
  const double seconds = absl::ToDoubleSeconds(clock.Monotonic() - start);
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
