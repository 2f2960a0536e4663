// Turns on the process's cores for jobs on threads of their own, and what they do together: steps
// of LoRA training.
//
// A job computes only while it has the turn; who asked first gets it first. A job that comes to a
// step gives up the turn, and asks for one for the step; every other that comes to a step before
// that turn is called goes through the model with it (worker/training/joint_step.h). So jobs that
// train share their products, and a job that loads, scans or scores does so alone. A job that waits
// for the server is away meanwhile.
// Thread safety: all methods may be called from any thread.
#ifndef WARDTUNE_WORKER_AGENT_COMPUTE_TURNS_H_
#define WARDTUNE_WORKER_AGENT_COMPUTE_TURNS_H_

#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "worker/training/step_runner.h"

namespace wardtune {

class ComputeTurns final : public StepRunner {
 public:
  // As RunJointStep.
  using JointStepFunction = std::function<absl::StatusOr<std::vector<absl::StatusOr<StepReport>>>(
      std::span<TrainingJob* const>)>;

  // `clock` must outlive the object.
  explicit ComputeTurns(Clock& clock);
  explicit ComputeTurns(JointStepFunction run_steps) : run_steps_(std::move(run_steps)) {}

  // The turn, from the end of the constructor, which waits for it, to the destructor.
  class Turn {
   public:
    // `turns` must outlive the object.
    explicit Turn(ComputeTurns& turns) : turns_(turns) { turns_.Take(); }
    ~Turn() { turns_.PassOn(); }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    ComputeTurns& turns_;
  };

  // Gives up the turn of the thread that has it, and takes a new one at the end of the scope: for
  // work that waits and does not compute.
  class Away {
   public:
    // `turns` must outlive the object.
    explicit Away(ComputeTurns& turns) : turns_(turns) { turns_.PassOn(); }
    ~Away() { turns_.Take(); }
    Away(const Away&) = delete;
    Away& operator=(const Away&) = delete;

   private:
    ComputeTurns& turns_;
  };

  // Lets those who wait go first. REQUIRES: the caller has the turn, and has it again afterwards.
  void Yield();

  // Threads that wait for a turn or for the steps of others.
  size_t waiting() const;

  // Where the steps fail together, as when memory does not do for all, they run one by one.
  // REQUIRES: the caller has the turn, and has it again afterwards; jobs whose steps meet have
  // models of one shape.
  absl::StatusOr<StepReport> RunStep(TrainingJob& job) override;

 private:
  // A thread that waits, for a turn of its own or for its step.
  struct Ticket {
    TrainingJob* job = nullptr;  // null: for a turn of its own
    bool called = false;
    std::optional<absl::StatusOr<StepReport>> report;
  };
  using Reports = std::vector<absl::StatusOr<StepReport>>;

  void Take();
  void PassOn();
  void PassOnLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WaitInQueue(Ticket& ticket) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Reports RunSteps(std::span<TrainingJob* const> jobs);

  const JointStepFunction run_steps_;

  mutable absl::Mutex mutex_;
  bool taken_ ABSL_GUARDED_BY(mutex_) = false;
  // In the order in which they will be called; of those that came to a step only the first.
  std::deque<Ticket*> queue_ ABSL_GUARDED_BY(mutex_);
  // Those that came to a step which has not begun, the first one in front.
  std::vector<Ticket*> at_step_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_AGENT_COMPUTE_TURNS_H_
