#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "base/status_macros.h"
#include "worker/training/joint_step.h"
#include "worker/training/joint_trainer.h"
#include "worker/training/step_runner.h"
#include "worker/training/trainer.h"
#include "worker/training/training_job.h"
#include "worker/training/validation_state.h"

namespace wardtune {
namespace {

class LoraTrainer final : public Trainer {
 public:
  LoraTrainer(std::unique_ptr<TrainingJob> job, Clock* clock)
      : job_(std::move(job)), clock_(clock) {
    const TrainerOptions& options = job_->options();
    if (options.validation.active()) validation_.emplace(options.validation);
  }

  int64_t step() const override { return job_->step(); }
  int64_t total_steps() const override {
    return validation_ && validation_->ShouldStop() ? job_->step() : job_->total_steps();
  }
  const DecoderModel& model(size_t stream) const override { return job_->streams()[stream].model; }
  const LoraAdapter* frozen(size_t stream) const override {
    return job_->streams()[stream].frozen.get();
  }
  LoraAdapter Adapter() const override { return best() ? best()->adapter : job_->adapter(); }
  std::vector<AdapterAtStep> Candidates() const override {
    if (best()) return validation_->kept();
    return {{job_->adapter(), step(), std::nullopt}};
  }
  int64_t adapter_step() const override { return best() ? best()->step : step(); }
  std::optional<double> validation_loss() const override {
    return best() ? best()->validation_loss : std::nullopt;
  }

  absl::StatusOr<StepReport> Step() override {
    if (done()) return absl::FailedPreconditionError("the run has no step left");
    WT_ASSIGN_OR_RETURN(StepReport report, RunStep());
    if (validation_ && validation_->IsDue(report.step, job_->total_steps())) {
      WT_ASSIGN_OR_RETURN(report.validation_loss, Measure(report.step));
      report.total_steps = total_steps();
    }
    return report;
  }

  absl::StatusOr<std::string> SaveState() const override {
    WT_ASSIGN_OR_RETURN(std::string state, job_->SaveState());
    return validation_ ? WrapWithValidation(*validation_, state) : state;
  }
  absl::Status RestoreState(std::string_view bytes) override {
    if (!validation_) return job_->RestoreState(bytes);
    AdapterStopping restored = *validation_;
    WT_ASSIGN_OR_RETURN(const std::string state,
                        UnwrapValidation(bytes, model(0).config(), restored));
    WT_RETURN_IF_ERROR(job_->RestoreState(state));
    validation_.emplace(std::move(restored));
    return absl::OkStatus();
  }

 private:
  const AdapterAtStep* best() const { return validation_ ? validation_->best() : nullptr; }

  absl::StatusOr<StepReport> RunStep() {
    TrainingJob* const job = job_.get();
    if (StepRunner* const runner = job->options().step_runner; runner != nullptr) {
      return runner->RunStep(*job);
    }
    WT_ASSIGN_OR_RETURN(auto reports, RunJointStep({&job, 1}, *clock_));
    return std::move(reports[0]);
  }

  absl::StatusOr<double> Measure(int64_t step) {
    std::vector<const LoraAdapter*> active = {&job_->adapter()};
    if (frozen(0) != nullptr) active.push_back(frozen(0));
    WT_ASSIGN_OR_RETURN(const double measured,
                        HeldOutLoss(model(0), active, validation_->options(),
                                    job_->options().micro_batch_tokens, step));
    WT_ASSIGN_OR_RETURN(const double loss, job_->AgreeOn(measured));
    if (validation_->Add(loss)) validation_->Keep({job_->adapter(), step, loss});
    return loss;
  }

  const std::unique_ptr<TrainingJob> job_;
  Clock* const clock_;
  std::optional<AdapterStopping> validation_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Trainer>> Trainer::Create(const TrainerOptions& options,
                                                         std::vector<TrainingStream> streams,
                                                         Clock* clock) {
  WT_ASSIGN_OR_RETURN(auto job, TrainingJob::Create(options, std::move(streams)));
  return std::make_unique<LoraTrainer>(std::move(job), clock);
}

absl::StatusOr<std::unique_ptr<JointTrainer>> JointTrainer::Create(std::vector<Member> members,
                                                                   Clock* clock) {
  if (members.empty()) return absl::InvalidArgumentError("jobs: at least one is needed");
  std::vector<std::unique_ptr<TrainingJob>> jobs;
  for (Member& member : members) {
    if (member.options.validation.active()) {
      return absl::InvalidArgumentError("validation: is not measured in joint training");
    }
    WT_ASSIGN_OR_RETURN(auto job, TrainingJob::Create(member.options, std::move(member.streams)));
    if (!jobs.empty() && &jobs[0]->WeightsOf(0) != &job->WeightsOf(0)) {
      return absl::InvalidArgumentError("jobs: all must train on the same weights");
    }
    jobs.push_back(std::move(job));
  }
  return std::unique_ptr<JointTrainer>(new JointTrainer(std::move(jobs), clock));
}

JointTrainer::JointTrainer(std::vector<std::unique_ptr<TrainingJob>> jobs, Clock* clock)
    : jobs_(std::move(jobs)), clock_(clock), ended_(jobs_.size(), false) {}

JointTrainer::~JointTrainer() = default;

bool JointTrainer::done() const {
  for (size_t i = 0; i < jobs_.size(); ++i) {
    if (!ended_[i] && !jobs_[i]->done()) return false;
  }
  return true;
}

absl::StatusOr<std::vector<JointTrainer::Report>> JointTrainer::Step() {
  std::vector<TrainingJob*> running;
  std::vector<Report> reports;
  for (size_t i = 0; i < jobs_.size(); ++i) {
    if (ended_[i] || jobs_[i]->done()) continue;
    running.push_back(jobs_[i].get());
    reports.push_back({i, StepReport()});
  }
  if (running.empty()) return absl::FailedPreconditionError("no job has a step left");
  WT_ASSIGN_OR_RETURN(auto results, RunJointStep(running, *clock_));
  for (size_t i = 0; i < results.size(); ++i) {
    ended_[reports[i].job] = !results[i].ok();
    reports[i].report = std::move(results[i]);
  }
  return reports;
}

LoraAdapter JointTrainer::Adapter(size_t job) const { return jobs_[job]->adapter(); }

}  // namespace wardtune
