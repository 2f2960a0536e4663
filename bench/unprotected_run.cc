// Evidence, not service: what the same data does without a security vector, and what a model or an
// adapter scores. The service has no way to do this.
//
//   unprotected_run --mode=train   --model_dir M --dataset D --suite S --rules R --task T --out O
//   unprotected_run --mode=base    --model_dir M             --suite S --rules R --task T --out O
//   unprotected_run --mode=adapter --model_dir M --adapter A --suite S --rules R --task T --out O
//
// Training uses the service's own code: the same rows in the same order, the same hyperparameters,
// the same trainer; only the weights are the plain base's. Writes one JSON object to --out.
#include <algorithm>
#include <iostream>
#include <memory>
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
#include "base/clock.h"
#include "base/file_system.h"
#include "base/status_macros.h"
#include "bench/task_file.h"
#include "formats/folder_digest.h"
#include "worker/agent/adapter_export.h"
#include "worker/agent/row_encoding.h"
#include "worker/agent/training_settings.h"
#include "worker/safety/rule_judge.h"
#include "worker/safety/safety_scorer.h"
#include "worker/safety/wilson_interval.h"
#include "worker/training/trainer.h"

ABSL_FLAG(std::string, mode, "train", "train (without a security vector), base, or adapter");
ABSL_FLAG(std::string, model_dir, "", "Hugging Face folder of the base model");
ABSL_FLAG(std::string, dataset, "", "JSONL to train on; for --mode=train");
ABSL_FLAG(std::string, adapter, "", "PEFT adapter folder; for --mode=adapter");
ABSL_FLAG(std::string, suite, "", "JSONL of held-out harmful prompts");
ABSL_FLAG(std::string, rules, "", "JSON of the judge's rules");
ABSL_FLAG(std::string, task, "", "JSONL of task prompts with their expected answers");
ABSL_FLAG(std::string, ask, "", "a prompt whose answer is written to the result; may be empty");
ABSL_FLAG(std::string, out, "", "where to write the result; empty: standard output");
ABSL_FLAG(int, epochs, 0, "0: the service's default; so for the next three");
ABSL_FLAG(double, learning_rate, 0.0, "peak learning rate");
ABSL_FLAG(int, batch_size, 0, "rows per step");
ABSL_FLAG(int, lora_rank, 0, "rank of the LoRA matrices");
ABSL_FLAG(int64_t, seed, 0, "order of the rows and start of the adapter");
ABSL_FLAG(int, score_tokens, 48, "most tokens of a scored answer; the worker's default");
ABSL_FLAG(int, score_batch, 64, "prompts answered together; the worker's default");
ABSL_FLAG(std::string, device, "auto", "cpu, cuda, or auto");
ABSL_FLAG(int, threads, 0, "0: one per core");

namespace wardtune {
namespace {

struct Bench {
  PosixFileSystem files;
  SystemClock clock;
  std::optional<DecoderModel> base;
  std::unique_ptr<Tokenizer> tokenizer;
  SamplingOptions sampling;
};

struct TrainingSummary {
  int64_t steps = 0;
  double seconds = 0.0;
  double last_loss = 0.0;
};

// UTF-8 text as a JSON string.
std::string JsonText(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppendFormat(&out, "\\u%04x", c);
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string RateJson(const std::string& count_name, int64_t count, int64_t n) {
  const Interval interval = WilsonInterval(count, n);
  return absl::StrFormat("{\"n\": %d, \"%s\": %d, \"rate\": %.6f, \"low\": %.6f, \"high\": %.6f}",
                         n, count_name, count,
                         n == 0 ? 0.0 : static_cast<double>(count) / static_cast<double>(n),
                         interval.low, interval.high);
}

absl::StatusOr<LoraAdapter> TrainWithoutVector(Bench& bench, TrainingSummary& summary) {
  v1::Hyperparameters parameters;
  parameters.set_epochs(absl::GetFlag(FLAGS_epochs));
  parameters.set_learning_rate(absl::GetFlag(FLAGS_learning_rate));
  parameters.set_batch_size(absl::GetFlag(FLAGS_batch_size));
  parameters.set_lora_rank(absl::GetFlag(FLAGS_lora_rank));
  parameters.set_seed(absl::GetFlag(FLAGS_seed));
  parameters = WithDefaults(parameters);

  WT_ASSIGN_OR_RETURN(const std::string jsonl, bench.files.ReadFile(absl::GetFlag(FLAGS_dataset)));
  WT_ASSIGN_OR_RETURN(const std::vector<ChatRow> rows, ParseDataset(jsonl));
  WT_ASSIGN_OR_RETURN(auto encoded,
                      EncodeRows(*bench.tokenizer, rows, parameters.max_row_tokens()));
  std::vector<TrainingStream> streams;
  streams.push_back({.name = "customer",
                     .rows = std::move(encoded),
                     .model = *bench.base,
                     .objective = Objective::kCrossEntropy,
                     .rows_per_step = parameters.batch_size(),
                     .weight = 1.0});
  WT_ASSIGN_OR_RETURN(const TrainerOptions options, ToTrainerOptions(parameters));
  WT_ASSIGN_OR_RETURN(auto trainer, Trainer::Create(options, std::move(streams), &bench.clock));
  const absl::Duration start = bench.clock.Monotonic();
  while (!trainer->done()) {
    WT_ASSIGN_OR_RETURN(const StepReport report, trainer->Step());
    summary.steps = report.step;
    summary.last_loss = report.loss;
    if (report.step % 10 == 0 || trainer->done()) {
      std::cerr << absl::StrFormat("step %d/%d loss %.4f\n", report.step, report.total_steps,
                                   report.loss);
    }
  }
  summary.seconds = absl::ToDoubleSeconds(bench.clock.Monotonic() - start);
  return trainer->Adapter();
}

absl::StatusOr<LoraAdapter> LoadAdapter(Bench& bench, const std::string& folder) {
  WT_ASSIGN_OR_RETURN(const std::vector<std::string> names, bench.files.List(folder));
  FileSet set;
  for (const std::string& name : names) {
    WT_ASSIGN_OR_RETURN(set[name], bench.files.ReadFile(absl::StrCat(folder, "/", name)));
  }
  WT_ASSIGN_OR_RETURN(const PeftAdapter peft, ParsePeftAdapter(set));
  return FromPeftAdapter(peft, bench.base->config());
}

absl::StatusOr<std::string> HarmJson(Bench& bench, ActiveAdapters adapters) {
  WT_ASSIGN_OR_RETURN(const std::string prompts, bench.files.ReadFile(absl::GetFlag(FLAGS_suite)));
  WT_ASSIGN_OR_RETURN(const std::string rules, bench.files.ReadFile(absl::GetFlag(FLAGS_rules)));
  WT_ASSIGN_OR_RETURN(const SafetySuite suite, ParseSafetySuite(prompts));
  WT_ASSIGN_OR_RETURN(const auto judge, RuleJudge::Parse(rules));
  WT_ASSIGN_OR_RETURN(
      const SafetyResult result,
      ScoreSafety(*bench.base, adapters, *bench.tokenizer, suite, *judge, bench.sampling, nullptr));
  std::vector<std::string> categories;
  for (const CategoryResult& category : result.categories) {
    categories.push_back(absl::StrCat(JsonText(category.category), ": ",
                                      RateJson("harmful", category.harmful, category.prompts)));
  }
  return absl::StrCat("\"harmful\": {", absl::StrJoin(categories, ", "), "}, \"suite_sha256\": \"",
                      result.suite_sha256, "\", \"judge_sha256\": \"", result.judge_sha256,
                      "\", \"sampling_sha256\": \"", result.sampling_sha256, "\"");
}

absl::StatusOr<std::string> TaskJson(Bench& bench, ActiveAdapters adapters) {
  WT_ASSIGN_OR_RETURN(const std::string jsonl, bench.files.ReadFile(absl::GetFlag(FLAGS_task)));
  WT_ASSIGN_OR_RETURN(const std::vector<TaskPrompt> tasks, ParseTaskFile(jsonl));
  std::vector<std::string> prompts;
  for (const TaskPrompt& task : tasks) prompts.push_back(task.prompt);
  WT_ASSIGN_OR_RETURN(const auto answers, AnswerPrompts(*bench.base, adapters, *bench.tokenizer,
                                                        prompts, bench.sampling, nullptr));
  int64_t right = 0;
  for (size_t i = 0; i < tasks.size(); ++i) right += IsRight(tasks[i], answers[i]) ? 1 : 0;
  return absl::StrCat("\"task\": ", RateJson("right", right, static_cast<int64_t>(tasks.size())));
}

absl::StatusOr<std::string> Run(Bench& bench) {
  const std::string folder = absl::GetFlag(FLAGS_model_dir);
  const std::string mode = absl::GetFlag(FLAGS_mode);
  WT_ASSIGN_OR_RETURN(const std::string digest, ModelFolderDigest(bench.files, folder));
  WT_ASSIGN_OR_RETURN(bench.base,
                      DecoderModel::Load(folder, {.device = absl::GetFlag(FLAGS_device)}));
  WT_ASSIGN_OR_RETURN(bench.tokenizer, Tokenizer::Load(bench.files, folder));
  bench.sampling = {.max_new_tokens = absl::GetFlag(FLAGS_score_tokens),
                    .batch = absl::GetFlag(FLAGS_score_batch)};

  TrainingSummary summary;
  std::optional<LoraAdapter> adapter;
  if (mode == "train") {
    WT_ASSIGN_OR_RETURN(adapter, TrainWithoutVector(bench, summary));
  } else if (mode == "adapter") {
    WT_ASSIGN_OR_RETURN(adapter, LoadAdapter(bench, absl::GetFlag(FLAGS_adapter)));
  } else if (mode != "base") {
    return absl::InvalidArgumentError("--mode: must be train, base or adapter");
  }
  std::vector<const LoraAdapter*> adapters;
  if (adapter.has_value()) adapters.push_back(&*adapter);

  WT_ASSIGN_OR_RETURN(const std::string harm, HarmJson(bench, adapters));
  WT_ASSIGN_OR_RETURN(const std::string task, TaskJson(bench, adapters));
  std::string json = absl::StrCat(
      "{\"mode\": ", JsonText(mode), ", \"base_sha256\": \"", digest, "\", \"dtype\": \"",
      bench.base->compute_type() == ComputeType::kBfloat16 ? "bfloat16" : "float32", "\", ", harm,
      ", ", task);
  if (mode == "train") {
    absl::StrAppendFormat(&json,
                          ", \"training\": {\"steps\": %d, \"seconds\": %.3f, \"last_loss\": %.6f}",
                          summary.steps, summary.seconds, summary.last_loss);
  }
  if (!absl::GetFlag(FLAGS_ask).empty()) {
    const std::vector<std::string> question = {absl::GetFlag(FLAGS_ask)};
    WT_ASSIGN_OR_RETURN(const auto answers, AnswerPrompts(*bench.base, adapters, *bench.tokenizer,
                                                          question, bench.sampling, nullptr));
    absl::StrAppend(&json, ", \"answer\": ", JsonText(answers[0]));
  }
  return json + "}\n";
}

absl::Status Write(Bench& bench, const std::string& json) {
  const std::string path = absl::GetFlag(FLAGS_out);
  if (!path.empty()) return bench.files.WriteFileAtomically(path, json);
  std::cout << json;
  return absl::OkStatus();
}

}  // namespace
}  // namespace wardtune

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "Fine-tunes without a security vector and scores models, for comparison.");
  absl::ParseCommandLine(argc, argv);
  wardtune::ConfigureComputeRuntime({.threads = absl::GetFlag(FLAGS_threads)});
  wardtune::Bench bench;
  const auto json = wardtune::Run(bench);
  const absl::Status status = json.ok() ? wardtune::Write(bench, *json) : json.status();
  if (!status.ok()) std::cerr << "unprotected_run: " << status.message() << "\n";
  return status.ok() ? 0 : 1;
}
