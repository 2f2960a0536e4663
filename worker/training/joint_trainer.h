// Several LoRA jobs on one base model, trained together in one process: one copy of the weights,
// and GEMMs over everybody's rows (ASPEN / mLoRA, arXiv 2312.02515).
//
// Jobs may differ in rank, targets, data, learning rate and length. Each job's numbers are those of
// its run alone, up to the rounding of GEMMs of another size, and none depends on another job's
// content: a row's result depends on its own row and the shapes alone.
// Thread safety: one trainer belongs to one thread at a time.
#ifndef WARDTUNE_WORKER_TRAINING_JOINT_TRAINER_H_
#define WARDTUNE_WORKER_TRAINING_JOINT_TRAINER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "worker/training/trainer.h"

namespace wardtune {

class TrainingJob;

class JointTrainer {
 public:
  struct Member {
    TrainerOptions options;
    std::vector<TrainingStream> streams;
  };
  struct Report {
    size_t job = 0;  // number of the member
    absl::StatusOr<StepReport> report;
  };

  // Errors: as Trainer::Create for each member; INVALID_ARGUMENT when stream 0 of the members does
  // not run on one and the same weights, or when one has validation rows. `clock` must outlive the
  // trainer.
  static absl::StatusOr<std::unique_ptr<JointTrainer>> Create(std::vector<Member> members,
                                                              Clock* clock);
  ~JointTrainer();

  // True when every job ended, by its last step or by an error.
  bool done() const;
  // One optimizer step of every job that still runs. A job whose loss is not finite ends with
  // ABORTED; the others go on.
  // Errors: FAILED_PRECONDITION when done(); those of LibTorch.
  absl::StatusOr<std::vector<Report>> Step();
  // A copy of a job's adapter as it stands.
  LoraAdapter Adapter(size_t job) const;

 private:
  JointTrainer(std::vector<std::unique_ptr<TrainingJob>> jobs, Clock* clock);

  const std::vector<std::unique_ptr<TrainingJob>> jobs_;
  Clock* const clock_;
  std::vector<bool> ended_;
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_TRAINING_JOINT_TRAINER_H_
