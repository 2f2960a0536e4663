// wardtune-worker: leases jobs from a server, runs them on this machine's device, hands back
// adapters and sealed security vectors. With --reseal it rotates the vectors' key instead.
#include <sys/prctl.h>
#include <sys/resource.h>

#include <atomic>
#include <iostream>
#include <string>

#include "absl/flags/usage.h"
#include "absl/flags/usage_config.h"
#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "base/clock.h"
#include "base/file_system.h"
#include "worker/agent/agent.h"
#include "worker/agent/reseal.h"
#include "worker/agent/signal_watcher.h"
#include "worker/worker_flags.h"

namespace wardtune {
namespace {

// Memory holds the plain vector and the sealing key, which a dump would write to a disk. The limit
// alone does not keep a dump from a pipe; the flag also bars debuggers of the same user.
bool KeepMemoryToItself() {
  const rlimit none{0, 0};
  return setrlimit(RLIMIT_CORE, &none) == 0 && prctl(PR_SET_DUMPABLE, 0) == 0;
}

int RunReseal(const WorkerSettings& settings, SignalWatcher& signals, Clock& clock) {
  std::atomic<bool> stopping = false;
  signals.Watch([&] { stopping = true; });
  WorkerClient client(settings.client, clock);
  const auto summary = ResealVersions(
      client, settings.sealing_keys, clock, [&] { return stopping.load(); }, std::cout);
  signals.Stop();  // What it sets ends with this function.
  if (!summary.ok()) {
    std::cerr << "wardtune-worker: --reseal: " << summary.status().message() << "\n";
    return 1;
  }
  return summary->complete() ? 0 : 1;
}

int RunAgent(const WorkerSettings& settings, FileSystem& files, SignalWatcher& signals,
             Clock& clock) {
  ConfigureComputeRuntime(settings.runtime);
  // Before the first job, which a wrong --device would otherwise fail.
  const auto compute = ResolveCompute(settings.decoder);
  if (!compute.ok()) {
    std::cerr << "wardtune-worker: --device: " << compute.status().message() << "\n";
    return 2;
  }

  EventLog log(std::cerr, clock);
  BaseModels models(files, settings.models_dir, settings.decoder);
  BaseScores scores;
  ComputeTurns turns(clock);
  MemoryShares memory;
  JobEnvironment environment{.base_models = models,
                             .sealing_keys = settings.sealing_keys,
                             .base_scores = scores,
                             .turns = turns,
                             .memory = memory,
                             .sampling = settings.sampling,
                             .checkpoints = settings.checkpoints,
                             .jobs_at_once = settings.jobs_at_once};
  WorkerClient client(settings.client, clock);
  Agent agent(client, environment, log, clock);
  const std::vector<std::string> keys = settings.sealing_keys.ids();
  log.Write("worker_started",
            {{"worker_id", settings.client.worker_id},
             {"server", settings.client.server},
             {"sealing_key", keys[0]},
             {"old_sealing_keys", absl::StrJoin(keys.begin() + 1, keys.end(), " ")},
             {"jobs_at_once", int64_t{settings.jobs_at_once}},
             {"device", compute->device},
             {"dtype", std::string(ComputeTypeName(compute->type))}});
  signals.Watch([&] { agent.Stop(); });
  const absl::Status status = agent.Run();
  signals.Stop();  // The watcher outlives the agent and must not call it any more.
  log.Write("worker_stopped", {{"code", absl::StatusCodeToString(status.code())},
                               {"message", std::string(status.message())}});
  return status.ok() ? 0 : 1;
}

}  // namespace
}  // namespace wardtune

int main(int argc, char** argv) {
  using namespace wardtune;
  if (!KeepMemoryToItself()) {
    std::cerr << "wardtune-worker: the machine does not let it switch off core dumps, which would "
                 "hold the security vector and its key\n";
    return 1;
  }
  SignalWatcher signals;
  PosixFileSystem files;
  SystemClock clock;
  absl::SetProgramUsageMessage(
      "Runs fine-tuning jobs and trains security vectors for a wardtune-server.");
  constexpr absl::string_view kOurFlags = "worker/worker_flags.cc";
  const auto ours = [=](absl::string_view file) { return absl::EndsWith(file, kOurFlags); };
  absl::FlagsUsageConfig usage;
  usage.contains_help_flags = ours;
  usage.contains_helpshort_flags = ours;
  usage.normalize_filename = [=](absl::string_view file) {
    return std::string(ours(file) ? kOurFlags : file);
  };
  absl::SetFlagsUsageConfig(usage);
  const auto settings = ReadWorkerFlags(argc, argv, files);
  if (!settings.ok()) {
    std::cerr << "wardtune-worker: " << settings.status().message() << "\n";
    return 2;
  }
  return settings->reseal ? RunReseal(*settings, signals, clock)
                          : RunAgent(*settings, files, signals, clock);
}
