// Several jobs on one base in one process, against which several processes are measured.
//
//   joint-bench --model=FOLDER --rows=ROWS.jsonl --jobs=4 --steps=N [--out=REPORT.json]
//
// Job i has rank 8 or 16, a learning rate of its own, and takes rows from another place of the
// file.
#include <iostream>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_format.h"
#include "base/clock.h"
#include "base/file_system.h"
#include "base/process_memory.h"
#include "base/status_macros.h"
#include "bench/report_file.h"
#include "bench/train/token_rows.h"
#include "worker/training/joint_trainer.h"

ABSL_FLAG(std::string, model, "", "Hugging Face folder of the base model");
ABSL_FLAG(std::string, rows, "", "JSONL of rows with ids and mask");
ABSL_FLAG(std::string, out, "", "where to write the report; empty: standard output");
ABSL_FLAG(int64_t, jobs, 4, "jobs that train together");
ABSL_FLAG(int64_t, first_job, 0, "number of the first of them");
ABSL_FLAG(int64_t, steps, 10, "timed steps");
ABSL_FLAG(int64_t, warmup, 2, "steps before them");
ABSL_FLAG(int64_t, batch, 4, "rows per step and job");
ABSL_FLAG(int64_t, micro_batch_tokens, wardtune::TrainerOptions().micro_batch_tokens,
          "most tokens that go through the model at once");
ABSL_FLAG(int, threads, 0, "0: one per core");

namespace wardtune {
namespace {

JointTrainer::Member MakeMember(const DecoderModel& model, const std::vector<TrainingRow>& rows,
                                int64_t number) {
  JointTrainer::Member member;
  TrainerOptions& options = member.options;
  options.lora.rank = number % 2 == 0 ? 16 : 8;
  options.lora.alpha = 2.0 * static_cast<double>(options.lora.rank);
  options.max_steps = absl::GetFlag(FLAGS_warmup) + absl::GetFlag(FLAGS_steps);
  options.schedule = {.peak = 1e-4 * static_cast<double>(number + 1)};
  options.micro_batch_tokens = absl::GetFlag(FLAGS_micro_batch_tokens);
  options.max_row_tokens = model.config().max_positions;
  options.shuffle = false;
  std::vector<TrainingRow> own;
  for (size_t i = 0; i < rows.size(); ++i) {
    own.push_back(rows[(i + static_cast<size_t>(number) * 7) % rows.size()]);
  }
  member.streams.push_back({.name = absl::StrFormat("job %d", number),
                            .rows = std::move(own),
                            .model = model,
                            .rows_per_step = absl::GetFlag(FLAGS_batch)});
  return member;
}

absl::Status Run() {
  PosixFileSystem files;
  SystemClock clock;
  WT_ASSIGN_OR_RETURN(const DecoderModel model, DecoderModel::Load(absl::GetFlag(FLAGS_model), {}));
  WT_ASSIGN_OR_RETURN(const std::string jsonl, files.ReadFile(absl::GetFlag(FLAGS_rows)));
  WT_ASSIGN_OR_RETURN(const std::vector<TrainingRow> rows, ParseTokenRows(jsonl));
  std::vector<JointTrainer::Member> members;
  for (int64_t i = 0; i < absl::GetFlag(FLAGS_jobs); ++i) {
    members.push_back(MakeMember(model, rows, absl::GetFlag(FLAGS_first_job) + i));
  }
  WT_ASSIGN_OR_RETURN(auto trainer, JointTrainer::Create(std::move(members), &clock));
  int64_t tokens = 0;
  absl::Duration started = clock.Monotonic();
  int64_t step = 0;
  while (!trainer->done()) {
    WT_ASSIGN_OR_RETURN(const auto reports, trainer->Step());
    if (++step <= absl::GetFlag(FLAGS_warmup)) {
      started = clock.Monotonic();
      continue;
    }
    for (const auto& [job, report] : reports) {
      WT_RETURN_IF_ERROR(report.status());
      tokens += report->tokens;
    }
  }
  // The monotonic clock is one for all processes: what several did takes from the first start to
  // the last end.
  const double begin = absl::ToDoubleSeconds(started);
  const double end = absl::ToDoubleSeconds(clock.Monotonic());
  const std::string json = absl::StrFormat(
      "{\"tokens_per_second\": %.3f, \"tokens\": %d, \"started\": %.4f, \"ended\": %.4f, "
      "\"peak_rss_bytes\": %d}\n",
      static_cast<double>(tokens) / (end - begin), tokens, begin, end, ProcessMemory("VmHWM:"));
  return WriteReport(files, absl::GetFlag(FLAGS_out), json);
}

}  // namespace
}  // namespace wardtune

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("Measures jobs that train together.");
  absl::ParseCommandLine(argc, argv);
  wardtune::ConfigureComputeRuntime({.threads = absl::GetFlag(FLAGS_threads)});
  const absl::Status status = wardtune::Run();
  if (!status.ok()) std::cerr << "joint-bench: " << status.message() << "\n";
  return status.ok() ? 0 : 1;
}
