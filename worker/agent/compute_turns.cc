#include "worker/agent/compute_turns.h"

#include <utility>

#include "worker/training/joint_step.h"

namespace wardtune {

ComputeTurns::ComputeTurns(Clock& clock)
    : run_steps_(
          [&clock](std::span<TrainingJob* const> jobs) { return RunJointStep(jobs, clock); }) {}

void ComputeTurns::PassOnLocked() {
  taken_ = !queue_.empty();
  if (!taken_) return;
  queue_.front()->called = true;
  queue_.pop_front();
}

void ComputeTurns::WaitInQueue(Ticket& ticket) {
  queue_.push_back(&ticket);
  if (!taken_) PassOnLocked();
  mutex_.Await(absl::Condition(&ticket.called));
}

void ComputeTurns::Take() {
  absl::MutexLock lock(&mutex_);
  Ticket ticket;
  WaitInQueue(ticket);
}

void ComputeTurns::PassOn() {
  absl::MutexLock lock(&mutex_);
  PassOnLocked();
}

void ComputeTurns::Yield() {
  PassOn();
  Take();
}

size_t ComputeTurns::waiting() const {
  absl::MutexLock lock(&mutex_);
  const size_t with_the_first = at_step_.empty() ? 0 : at_step_.size() - 1;
  return queue_.size() + with_the_first;
}

ComputeTurns::Reports ComputeTurns::RunSteps(std::span<TrainingJob* const> jobs) {
  absl::StatusOr<Reports> reports = run_steps_(jobs);
  if (reports.ok()) return *std::move(reports);
  if (jobs.size() == 1) return {reports.status()};
  Reports each;
  for (TrainingJob* const& job : jobs) each.push_back(std::move(RunSteps({&job, 1})[0]));
  return each;
}

absl::StatusOr<StepReport> ComputeTurns::RunStep(TrainingJob& job) {
  absl::MutexLock lock(&mutex_);
  Ticket own{.job = &job};
  at_step_.push_back(&own);
  if (at_step_.size() > 1) {
    // The first one, which is in the queue, runs the step and then asks for a turn for this thread.
    PassOnLocked();
    mutex_.Await(absl::Condition(&own.called));
    return *std::move(own.report);
  }
  taken_ = false;
  WaitInQueue(own);

  const std::vector<Ticket*> tickets = std::exchange(at_step_, {});
  std::vector<TrainingJob*> jobs;
  for (const Ticket* ticket : tickets) jobs.push_back(ticket->job);
  mutex_.Unlock();
  Reports reports = RunSteps(jobs);
  mutex_.Lock();
  for (size_t i = 0; i < tickets.size(); ++i) {
    tickets[i]->report = std::move(reports[i]);
    if (tickets[i] != &own) queue_.push_back(tickets[i]);
  }
  return *std::move(own.report);
}

}  // namespace wardtune
