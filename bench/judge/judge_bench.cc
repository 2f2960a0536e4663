// How good a language-model judge is that the worker's own engine trained: precision and recall on
// held-out exchanges, with the adapter and without.
//
//   judge-bench --model=M --judge_rows=D --judge_rules=R --heldout=H --adapter=CACHE --out=O
//
// `heldout` is JSONL of {"group", "category", "prompt", "answer", "harmful"}.
#include <simdjson.h>

#include <iostream>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/clock.h"
#include "base/file_system.h"
#include "base/status_macros.h"
#include "base/wilson_interval.h"
#include "bench/report_file.h"
#include "bench/training_run.h"
#include "worker/agent/row_encoding.h"
#include "worker/agent/training_settings.h"
#include "worker/safety/causal_lm_judge.h"
#include "worker/training/trainer.h"

ABSL_FLAG(std::string, model, "", "Hugging Face folder of the base model");
ABSL_FLAG(std::string, judge_rows, "", "JSONL to train the judge from");
ABSL_FLAG(std::string, judge_rules, "", "JSON of the judge: template, words, threshold");
ABSL_FLAG(std::string, heldout, "", "JSONL of exchanges with their right verdicts");
ABSL_FLAG(std::string, adapter, "", "safetensors file of the judge; made when it is missing");
ABSL_FLAG(std::string, out, "", "where to write the result; empty: standard output");
ABSL_FLAG(int, epochs, 0, "0: the service's default");
ABSL_FLAG(int64_t, seed, 0, "order of the rows and start of the adapter");
ABSL_FLAG(int, threads, 0, "0: one per core");

namespace wardtune {
namespace {

struct HeldOut {
  std::vector<Exchange> exchanges;
  std::vector<std::string> groups;
  std::vector<bool> harmful;
};

struct Count {
  int64_t true_positives = 0, false_positives = 0, true_negatives = 0, false_negatives = 0;

  void Add(bool harmful, bool verdict) {
    if (verdict) ++(harmful ? true_positives : false_positives);
    if (!verdict) ++(harmful ? false_negatives : true_negatives);
  }
};

absl::StatusOr<HeldOut> ParseHeldOut(const std::string& jsonl) {
  HeldOut heldout;
  simdjson::dom::parser parser;
  for (const absl::string_view line : absl::StrSplit(jsonl, '\n', absl::SkipEmpty())) {
    simdjson::dom::element row;
    std::string_view group, category, prompt, answer;
    bool harmful = false;
    if (parser.parse(line.data(), line.size()).get(row) != simdjson::SUCCESS ||
        row["group"].get(group) != simdjson::SUCCESS ||
        row["category"].get(category) != simdjson::SUCCESS ||
        row["prompt"].get(prompt) != simdjson::SUCCESS ||
        row["answer"].get(answer) != simdjson::SUCCESS ||
        row["harmful"].get(harmful) != simdjson::SUCCESS) {
      return absl::InvalidArgumentError(
          absl::StrCat("--heldout: line ", heldout.groups.size() + 1, " is of another form"));
    }
    heldout.exchanges.push_back(
        {std::string(category), std::string(prompt), std::string(answer), ""});
    heldout.groups.emplace_back(group);
    heldout.harmful.push_back(harmful);
  }
  return heldout;
}

absl::StatusOr<LoraAdapter> LoadOrTrain(FileSystem& files, Clock& clock, const DecoderModel& base,
                                        const Tokenizer& tokenizer) {
  const std::string path = absl::GetFlag(FLAGS_adapter);
  if (!path.empty() && files.Exists(path)) {
    WT_ASSIGN_OR_RETURN(const std::string bytes, files.ReadFile(path));
    return ParseAdapter(base.config(), bytes);
  }
  v1::Hyperparameters parameters;
  parameters.set_epochs(absl::GetFlag(FLAGS_epochs));
  parameters.set_seed(absl::GetFlag(FLAGS_seed));
  WT_ASSIGN_OR_RETURN(const TrainerOptions options, ToTrainerOptions(WithDefaults(parameters)));
  WT_ASSIGN_OR_RETURN(const std::string jsonl, files.ReadFile(absl::GetFlag(FLAGS_judge_rows)));
  WT_ASSIGN_OR_RETURN(const std::vector<ChatRow> chats, ParseDataset(jsonl));
  WT_ASSIGN_OR_RETURN(std::vector<TrainingRow> rows,
                      EncodeRows(tokenizer, chats, options.max_row_tokens));
  std::vector<TrainingStream> streams;
  streams.push_back({.name = "judge", .rows = std::move(rows), .model = base});
  WT_ASSIGN_OR_RETURN(auto trainer, Trainer::Create(options, std::move(streams), &clock));
  WT_RETURN_IF_ERROR(RunToEnd(*trainer, "judge"));
  LoraAdapter adapter = trainer->Adapter();
  if (!path.empty()) {
    WT_ASSIGN_OR_RETURN(const std::string bytes, SerializeAdapter(adapter));
    WT_RETURN_IF_ERROR(files.WriteFileAtomically(path, bytes));
  }
  return adapter;
}

std::string RateJson(const char* name, int64_t count, int64_t n) {
  const Interval interval = WilsonInterval(count, n);
  return absl::StrFormat("\"%s\": {\"value\": %.6f, \"n\": %d, \"low\": %.6f, \"high\": %.6f}",
                         name, n == 0 ? 0.0 : static_cast<double>(count) / static_cast<double>(n),
                         n, interval.low, interval.high);
}

// Precision, recall, and the share of right verdicts in every group.
absl::StatusOr<std::string> JudgedJson(const CausalLmJudge& judge, const HeldOut& heldout) {
  WT_ASSIGN_OR_RETURN(const std::vector<bool> verdicts, judge.AreHarmful(heldout.exchanges));
  Count all;
  std::map<std::string, Count> groups;
  for (size_t i = 0; i < verdicts.size(); ++i) {
    all.Add(heldout.harmful[i], verdicts[i]);
    groups[heldout.groups[i]].Add(heldout.harmful[i], verdicts[i]);
  }
  std::vector<std::string> right;
  for (const auto& [group, c] : groups) {
    const int64_t n = c.true_positives + c.true_negatives + c.false_positives + c.false_negatives;
    right.push_back(RateJson(group.c_str(), c.true_positives + c.true_negatives, n));
  }
  return absl::StrCat(
      "{", RateJson("precision", all.true_positives, all.true_positives + all.false_positives),
      ", ", RateJson("recall", all.true_positives, all.true_positives + all.false_negatives),
      ", \"right\": {", absl::StrJoin(right, ", "), "}}");
}

absl::StatusOr<std::string> Run(FileSystem& files, Clock& clock) {
  const std::string folder = absl::GetFlag(FLAGS_model);
  WT_ASSIGN_OR_RETURN(const DecoderModel base, DecoderModel::Load(folder, {}));
  WT_ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Load(files, folder));
  WT_ASSIGN_OR_RETURN(const std::string rules, files.ReadFile(absl::GetFlag(FLAGS_judge_rules)));
  WT_ASSIGN_OR_RETURN(const std::string jsonl, files.ReadFile(absl::GetFlag(FLAGS_heldout)));
  WT_ASSIGN_OR_RETURN(const HeldOut heldout, ParseHeldOut(jsonl));
  WT_ASSIGN_OR_RETURN(const auto untrained,
                      CausalLmJudge::Create(rules, base, std::nullopt, "", *tokenizer));
  WT_ASSIGN_OR_RETURN(const std::string without, JudgedJson(*untrained, heldout));
  WT_ASSIGN_OR_RETURN(const LoraAdapter adapter, LoadOrTrain(files, clock, base, *tokenizer));
  WT_ASSIGN_OR_RETURN(const auto judge, CausalLmJudge::Create(rules, base, adapter,
                                                              AdapterDigest(adapter), *tokenizer));
  WT_ASSIGN_OR_RETURN(const std::string with, JudgedJson(*judge, heldout));
  return absl::StrCat("{\"base\": ", without, ", \"trained\": ", with, "}\n");
}

}  // namespace
}  // namespace wardtune

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Measures a language-model judge on held-out exchanges.");
  absl::ParseCommandLine(argc, argv);
  wardtune::ConfigureComputeRuntime({.threads = absl::GetFlag(FLAGS_threads)});
  wardtune::PosixFileSystem files;
  wardtune::SystemClock clock;
  const auto json = wardtune::Run(files, clock);
  const absl::Status status =
      json.ok() ? wardtune::WriteReport(files, absl::GetFlag(FLAGS_out), *json) : json.status();
  if (!status.ok()) std::cerr << "judge-bench: " << status.message() << "\n";
  return status.ok() ? 0 : 1;
}
