// wardtune-worker: leases jobs from a server, runs them on this machine's device, hands back
// adapters and sealed security vectors.
#include <iostream>

#include "absl/flags/usage.h"
#include "base/clock.h"
#include "base/file_system.h"
#include "worker/agent/agent.h"
#include "worker/agent/signal_watcher.h"
#include "worker/worker_flags.h"

int main(int argc, char** argv) {
  using namespace wardtune;
  SignalWatcher signals;
  PosixFileSystem files;
  SystemClock clock;
  absl::SetProgramUsageMessage(
      "Runs fine-tuning jobs and trains security vectors for a wardtune-server.");
  const auto settings = ReadWorkerFlags(argc, argv, files);
  if (!settings.ok()) {
    std::cerr << "wardtune-worker: " << settings.status().message() << "\n";
    return 2;
  }
  ConfigureComputeRuntime(settings->runtime);
  // Before the first job, which a wrong --device would otherwise fail.
  const auto compute = ResolveCompute(settings->decoder);
  if (!compute.ok()) {
    std::cerr << "wardtune-worker: --device: " << compute.status().message() << "\n";
    return 2;
  }

  EventLog log(std::cerr, clock);
  BaseModels models(files, settings->models_dir, settings->decoder);
  BaseScores scores;
  JobEnvironment environment{.base_models = models,
                             .sealing_key = settings->sealing_key,
                             .base_scores = scores,
                             .sampling = settings->sampling,
                             .checkpoints = settings->checkpoints};
  WorkerClient client(settings->client, clock);
  Agent agent(client, environment, log, clock);
  log.Write("worker_started", {{"worker_id", settings->client.worker_id},
                               {"server", settings->client.server},
                               {"sealing_key", settings->sealing_key.id()},
                               {"device", compute->device},
                               {"dtype", std::string(ComputeTypeName(compute->type))}});
  signals.Watch([&] { agent.Stop(); });
  const absl::Status status = agent.Run();
  signals.Stop();  // The watcher outlives the agent and must not call it any more.
  log.Write("worker_stopped", {{"code", absl::StatusCodeToString(status.code())},
                               {"message", std::string(status.message())}});
  return status.ok() ? 0 : 1;
}
