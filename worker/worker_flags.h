// The command line of wardtune-worker. `wardtune-worker --help` lists it.
// Thread safety: call once, from main.
#ifndef WARDTUNE_WORKER_WORKER_FLAGS_H_
#define WARDTUNE_WORKER_WORKER_FLAGS_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "base/file_system.h"
#include "worker/agent/training_loop.h"
#include "worker/agent/worker_client.h"
#include "worker/model/decoder.h"
#include "worker/safety/safety_scorer.h"
#include "worker/security/sealing_keys.h"

namespace wardtune {

struct WorkerSettings {
  WorkerClient::Options client;
  std::string models_dir;
  SealingKeys sealing_keys;
  bool reseal = false;  // Rotate the sealing key instead of taking jobs.
  DecoderOptions decoder;
  ComputeRuntimeOptions runtime;
  SamplingOptions sampling;
  CheckpointPolicy checkpoints;
  int jobs_at_once = 1;
};

// Errors: INVALID_ARGUMENT naming the flag; those of reading the files that flags name.
absl::StatusOr<WorkerSettings> ReadWorkerFlags(int argc, char** argv, FileSystem& files);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_WORKER_FLAGS_H_
