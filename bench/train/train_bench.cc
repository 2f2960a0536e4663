// The training engine's side of `make bench-train`: trains on rows of token ids and reports speed,
// memory and the loss of every step.
//
//   train-bench --model=FOLDER --rows=ROWS.jsonl --steps=N [--warmup=N] [--batch=N] [--rank=N]
//               [--dtype=bfloat16] [--fold_rank=N [--in_turn]] [--out=REPORT.json]
//               [--processes=N --process=I --store=file:PATH|tcp:HOST:PORT]
//
// A row is {"ids": [..], "mask": [..]}; rows are taken in the file's order, `batch` a step, round
// and round, so that another program can train on the very same batches. Warm-up steps are trained
// and not timed. With --in_turn a second trainer of the same rows runs on the plain model, step by
// step in turn with the first, and the report has its steps' times as plain_step_seconds: what
// folding costs shows where two runs one after the other show the machine's moods. With --processes
// each of N processes is started by hand with its own number I and the same other flags; they train
// one adapter together, each on its share of every step's rows, and each reports the tokens of all
// and its own peak memory.
#include <algorithm>
#include <fstream>
#include <iostream>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/clock.h"
#include "base/file_system.h"
#include "base/process_memory.h"
#include "base/status_macros.h"
#include "bench/report_file.h"
#include "bench/train/token_rows.h"
#include "worker/agent/adapter_export.h"
#include "worker/training/gloo_exchange.h"
#include "worker/training/trainer.h"

ABSL_FLAG(std::string, model, "", "Hugging Face folder of the base model");
ABSL_FLAG(std::string, rows, "", "JSONL of rows with ids and mask");
ABSL_FLAG(std::string, out, "", "where to write the report; empty: standard output");
ABSL_FLAG(std::string, dtype, "auto", "float32, bfloat16 or auto");
ABSL_FLAG(int64_t, steps, 10, "timed steps");
ABSL_FLAG(int64_t, warmup, 2, "steps before them");
ABSL_FLAG(int64_t, batch, 4, "rows per step");
ABSL_FLAG(int64_t, rank, 16, "LoRA rank, on all seven projections");
ABSL_FLAG(int64_t, micro_batch_tokens, wardtune::TrainerOptions().micro_batch_tokens,
          "most tokens that go through the model at once");
ABSL_FLAG(std::string, start, "", "PEFT folder of the adapter to start from; empty: by the seed");
ABSL_FLAG(bool, recompute, false, "keep only the layers' inputs");
ABSL_FLAG(bool, share_prefixes, true, "tokens that rows begin with alike go through once");
ABSL_FLAG(int64_t, fold_rank, 0, "rank of a small random adapter to fold in first; 0: none");
ABSL_FLAG(bool, frozen, false,
          "run that adapter beside the weights instead, as jobs with guard rows do");
ABSL_FLAG(bool, in_turn, false, "step in turn with the same training on the plain model");
ABSL_FLAG(double, learning_rate, 3e-4, "constant learning rate");
ABSL_FLAG(int, processes, 1, "processes that train together");
ABSL_FLAG(int, process, 0, "number of this one, from 0");
ABSL_FLAG(std::string, store, "", "where the processes meet: file:PATH (new) or tcp:HOST:PORT");
ABSL_FLAG(int, threads, 0, "0: one per core");

namespace wardtune {
namespace {

absl::StatusOr<ComputeType> Dtype() {
  const std::string name = absl::GetFlag(FLAGS_dtype);
  if (name == "auto") return ComputeType::kAuto;
  if (name == "float32") return ComputeType::kFloat32;
  if (name == "bfloat16") return ComputeType::kBfloat16;
  return absl::InvalidArgumentError("--dtype: must be auto, float32 or bfloat16");
}

// In a security vector's place. Its values do not matter for speed.
absl::StatusOr<LoraAdapter> RandomAdapter(const ModelConfig& config, int64_t rank) {
  WT_ASSIGN_OR_RETURN(LoraAdapter adapter, InitLora(config, {.rank = rank, .alpha = 1.0}, 7));
  for (auto& layer : adapter.layers) {
    for (LoraMatrices& m : layer) std::fill(m.b.begin(), m.b.end(), 1e-3f);
  }
  return adapter;
}

// What a job trains on: the base, or with a vector in its weights or beside them.
absl::StatusOr<TrainingStream> MakeStream(const DecoderModel& base, std::vector<TrainingRow> rows) {
  TrainingStream stream{.name = "bench",
                        .rows = std::move(rows),
                        .model = base,
                        .rows_per_step = absl::GetFlag(FLAGS_batch)};
  if (absl::GetFlag(FLAGS_fold_rank) == 0) return stream;
  WT_ASSIGN_OR_RETURN(const LoraAdapter vector,
                      RandomAdapter(base.config(), absl::GetFlag(FLAGS_fold_rank)));
  if (absl::GetFlag(FLAGS_frozen)) {
    stream.frozen = std::make_shared<const LoraAdapter>(vector);
  } else {
    WT_ASSIGN_OR_RETURN(stream.model, FoldAdapter(base, vector));
  }
  return stream;
}

absl::Status SetOptions(FileSystem& files, const ModelConfig& config, TrainerOptions& options) {
  options.lora.rank = absl::GetFlag(FLAGS_rank);
  options.lora.alpha = 2.0 * static_cast<double>(options.lora.rank);
  options.max_steps = absl::GetFlag(FLAGS_warmup) + absl::GetFlag(FLAGS_steps);
  options.schedule = {
      .peak = absl::GetFlag(FLAGS_learning_rate), .decay = LrDecay::kConstant, .warmup_ratio = 0.0};
  options.micro_batch_tokens = absl::GetFlag(FLAGS_micro_batch_tokens);
  options.max_row_tokens = config.max_positions;
  options.recompute_activations = absl::GetFlag(FLAGS_recompute);
  options.share_prefixes = absl::GetFlag(FLAGS_share_prefixes);
  options.shuffle = false;
  if (!absl::GetFlag(FLAGS_start).empty()) {
    WT_ASSIGN_OR_RETURN(options.start, LoadPeftFolder(files, absl::GetFlag(FLAGS_start), config));
    options.lora = options.start->spec;
  }
  return absl::OkStatus();
}

// The timed steps of one trainer.
struct Timed {
  std::vector<double> losses;  // of the warm-up's steps, too
  std::vector<double> seconds;
  int64_t tokens = 0;

  absl::Status Step(Trainer& trainer) {
    WT_ASSIGN_OR_RETURN(const StepReport report, trainer.Step());
    losses.push_back(report.loss);
    if (report.step <= absl::GetFlag(FLAGS_warmup)) return absl::OkStatus();
    seconds.push_back(report.seconds);
    tokens += report.tokens;
    return absl::OkStatus();
  }
};

std::string Numbers(const std::vector<double>& values) {
  return absl::StrJoin(values, ", ", [](std::string* out, double value) {
    absl::StrAppendFormat(out, "%.9g", value);
  });
}

std::string ReportOf(const Timed& timed, const Timed& plain, ComputeType type) {
  const double total = std::accumulate(timed.seconds.begin(), timed.seconds.end(), 0.0);
  std::string json = absl::StrFormat(
      "{\"tokens_per_second\": %.3f, \"tokens\": %d, \"seconds\": %.4f, \"peak_rss_bytes\": %d, "
      "\"dtype\": \"%s\", \"step_seconds\": [%s], \"losses\": [%s]",
      static_cast<double>(timed.tokens) / total, timed.tokens, total, ProcessMemory("VmHWM:"),
      type == ComputeType::kBfloat16 ? "bfloat16" : "float32", Numbers(timed.seconds),
      Numbers(timed.losses));
  if (!plain.seconds.empty()) {
    absl::StrAppend(&json, ", \"plain_step_seconds\": [", Numbers(plain.seconds), "]");
  }
  return json + "}\n";
}

absl::StatusOr<std::string> Run() {
  PosixFileSystem files;
  SystemClock clock;
  WT_ASSIGN_OR_RETURN(const ComputeType type, Dtype());
  WT_ASSIGN_OR_RETURN(const DecoderModel base,
                      DecoderModel::Load(absl::GetFlag(FLAGS_model), {.compute_type = type}));
  WT_ASSIGN_OR_RETURN(const std::string jsonl, files.ReadFile(absl::GetFlag(FLAGS_rows)));
  WT_ASSIGN_OR_RETURN(const std::vector<TrainingRow> rows, ParseTokenRows(jsonl));
  TrainerOptions options;
  WT_RETURN_IF_ERROR(SetOptions(files, base.config(), options));
  std::unique_ptr<GradientExchange> exchange;
  if (absl::GetFlag(FLAGS_processes) > 1) {
    WT_ASSIGN_OR_RETURN(exchange, ConnectGloo({.rank = absl::GetFlag(FLAGS_process),
                                               .ranks = absl::GetFlag(FLAGS_processes),
                                               .store = absl::GetFlag(FLAGS_store)}));
  }
  options.exchange = exchange.get();
  WT_ASSIGN_OR_RETURN(const TrainingStream stream, MakeStream(base, rows));
  WT_ASSIGN_OR_RETURN(auto trainer, Trainer::Create(options, {stream}, &clock));
  std::unique_ptr<Trainer> plain_trainer;
  if (absl::GetFlag(FLAGS_in_turn)) {
    TrainingStream plain = stream;
    plain.model = base;
    plain.frozen = nullptr;
    WT_ASSIGN_OR_RETURN(plain_trainer, Trainer::Create(options, {std::move(plain)}, &clock));
  }
  Timed timed;
  Timed plain;
  while (!trainer->done()) {
    WT_RETURN_IF_ERROR(timed.Step(*trainer));
    if (plain_trainer != nullptr) WT_RETURN_IF_ERROR(plain.Step(*plain_trainer));
  }
  return ReportOf(timed, plain, base.compute_type());
}

absl::Status Write(const std::string& json) {
  PosixFileSystem files;
  return WriteReport(files, absl::GetFlag(FLAGS_out), json);
}

}  // namespace
}  // namespace wardtune

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Measures the training engine.");
  absl::ParseCommandLine(argc, argv);
  wardtune::ConfigureComputeRuntime({.threads = absl::GetFlag(FLAGS_threads)});
  const auto json = wardtune::Run();
  const absl::Status status = json.ok() ? wardtune::Write(*json) : json.status();
  if (!status.ok()) std::cerr << "train-bench: " << status.message() << "\n";
  return status.ok() ? 0 : 1;
}
