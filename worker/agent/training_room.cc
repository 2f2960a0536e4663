#include "worker/agent/training_room.h"

#include <cstdint>
#include <optional>

#include "base/status_macros.h"
#include "worker/model/out_of_memory.h"

namespace wardtune {
namespace {

constexpr absl::Duration kPause = absl::Milliseconds(200);

// Until one of the runs that hold `promised` bytes has ended.
absl::Status AwaitLess(int64_t promised, JobEnvironment& environment, Attempt& attempt) {
  attempt.log().Write("waits_for_memory", {{"work", attempt.lease().work()}});
  while (environment.memory.promised() >= promised) {
    WT_RETURN_IF_ERROR(attempt.GoOn());
    const ComputeTurns::Away away(environment.turns);
    attempt.clock().Sleep(kPause);
  }
  return attempt.GoOn();
}

}  // namespace

absl::StatusOr<MemoryShares::Share> MakeRoomForTraining(JobEnvironment& environment,
                                                        Attempt& attempt,
                                                        std::span<const TrainingStream> streams,
                                                        TrainedPart trained,
                                                        TrainerOptions& options) {
  if (environment.jobs_at_once > 1) options.step_runner = &environment.turns;
  while (true) {
    const std::optional<int64_t> free_bytes = FreeMemoryFor(streams[0].model);
    if (!free_bytes) return MemoryShares::Share();
    const absl::StatusOr<int64_t> needed =
        FitIntoMemory(streams, trained, environment.memory.Left(*free_bytes), options);
    if (needed.ok()) return environment.memory.Promise(*needed);
    const int64_t promised = environment.memory.promised();
    if (!IsOutOfMemory(needed.status()) || promised == 0) return needed.status();
    WT_RETURN_IF_ERROR(AwaitLess(promised, environment, attempt));
  }
}

}  // namespace wardtune
