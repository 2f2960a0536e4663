#include "worker/agent/training_room.h"

#include <cstdint>
#include <optional>

#include "base/status_macros.h"
#include "worker/model/out_of_memory.h"

namespace wardtune {
namespace {

constexpr absl::Duration kPause = absl::Milliseconds(500);

absl::Status Pause(JobEnvironment& environment, Attempt& attempt) {
  WT_RETURN_IF_ERROR(attempt.GoOn());
  {
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
  MemoryShares& memory = environment.memory;
  std::optional<MemoryShares::Place> place;  // once it waits
  while (true) {
    const std::optional<int64_t> free_bytes = FreeMemoryFor(streams[0].model);
    if (!free_bytes) return MemoryShares::Share();
    if (place ? place->first() : memory.waiting() == 0) {
      const absl::StatusOr<int64_t> needed =
          FitIntoMemory(streams, trained, memory.Left(*free_bytes), options);
      if (needed.ok()) return memory.Promise(*needed, *free_bytes);
      const int others_waiting = memory.waiting() - (place ? 1 : 0);
      const bool nobody_will_end = others_waiting == memory.jobs() - 1;
      if (!IsOutOfMemory(needed.status()) || nobody_will_end) return needed.status();
    }
    if (!place) {
      place.emplace(memory);
      attempt.log().Write("waits_for_memory", {{"work", attempt.lease().work()}});
    }
    WT_RETURN_IF_ERROR(Pause(environment, attempt));
  }
}

void CountHeld(MemoryShares::Share& share, const DecoderModel& model) {
  if (const std::optional<int64_t> free_bytes = FreeMemoryFor(model)) share.CountHeld(*free_bytes);
}

}  // namespace wardtune
