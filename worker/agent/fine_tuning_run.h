// A customer's job from its lease to its result, stage by stage:
//
//   fetch -> load base -> fetch start adapter -> open vector -> fold -> check active -> encode
//   -> scan rows -> score base and start -> train -> strip -> score result -> export -> complete
//
// A chained job has a start adapter, an earlier job's result, and trains on in its matrices.
// Vector, scan, guard rows and strip check are as in any job; what it started with is scored beside
// the base, and the safety gate compares with the base alone.
//
// With validation several checkpoints are kept, as many as the provider's policy says. All are
// scored, and the first that passes the safety gate, in order of their validation loss, is
// delivered: the best by task loss among those within the bounds.
//
// A job of METHOD_FULL_PARAMETER trains a change of the weights instead of an adapter
// (worker/training/full_parameter_trainer.h); its results are base + change, models.
//
// There is no way around the vector: training takes the folded weights, or the base with the vector
// as a frozen adapter, and only the stages before make them. Scoring takes the plain base; the
// vector is gone by then.
// Thread safety: belongs to the attempt's thread.
#ifndef WARDTUNE_WORKER_AGENT_FINE_TUNING_RUN_H_
#define WARDTUNE_WORKER_AGENT_FINE_TUNING_RUN_H_

#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/agent/adapter_export.h"
#include "worker/agent/attempt.h"
#include "worker/agent/job_environment.h"
#include "worker/agent/row_encoding.h"
#include "worker/security/activation_check.h"
#include "worker/security/security_vector.h"
#include "worker/training/full_parameter_trainer.h"

namespace wardtune {

class FineTuningRun {
 public:
  // `environment` and `attempt` must outlive the run. REQUIRES: the lease is for fine-tuning.
  FineTuningRun(JobEnvironment& environment, Attempt& attempt)
      : environment_(environment), attempt_(attempt), work_(attempt.lease().fine_tuning()) {}

  // Runs the job to its end. On an error nothing has been exported; FailureOf tells the reason.
  absl::Status Run();

 private:
  absl::Status Fetch();
  absl::Status LoadBase();
  absl::Status FetchStart();
  absl::Status OpenVector();
  absl::Status Fold();
  absl::Status CheckActive();
  // Frees the data set's text.
  absl::Status Encode();
  // Leaves out what the provider's policy drops, or fails the job.
  absl::Status ScanRows();
  absl::Status ScoreBase();
  absl::Status ScoreStart();
  // Drops folded_ where training does not need it.
  std::vector<TrainingStream> MakeStreams(std::vector<TrainingRow> rows);
  absl::Status Train();
  absl::Status TrainAdapter(const TrainerOptions& options, std::vector<TrainingStream> streams);
  absl::Status CheckTrainedWithVector(const Trainer& trainer) const;
  // The weights themselves.
  absl::Status TrainFully(const TrainerOptions& options, std::vector<TrainingStream> streams);
  absl::Status CheckTrainedFully(const FullParameterTrainer& trainer) const;
  void NameGuardRows(const DecoderModel& ran_on);
  absl::Status Strip();
  absl::Status ScoreResult();
  struct Checkpoint {
    int64_t step = 0;
    std::optional<double> validation_loss;
    std::variant<LoraAdapter, DecoderModel> result;  // a model of full-parameter training

    const LoraAdapter* adapter() const { return std::get_if<LoraAdapter>(&result); }
    const DecoderModel* model() const { return std::get_if<DecoderModel>(&result); }
    double strip_cosine = 0.0;          // from Strip
    std::optional<SafetyResult> score;  // from ScoreCheckpoint
    v1::SafetyGate::State gate = v1::SafetyGate::STATE_UNSPECIFIED;
  };
  // The largest |cosine| to the vector that any matrix of its delta has, and that within the bound.
  absl::StatusOr<double> CosineToVector(const Checkpoint& checkpoint) const;
  absl::StatusOr<double> StripCosine(const Checkpoint& checkpoint) const;
  absl::Status ScoreCheckpoint(Checkpoint& checkpoint);
  absl::Status Deliver(size_t checkpoint);
  // With their scores, for the server; none where there was nothing to choose.
  void ReportCheckpoints(v1::FineTuningResult& result) const;
  absl::StatusOr<std::string> ResultTar(const ResultFacts& facts);
  absl::Status Export();
  absl::Status Complete();

  JobEnvironment& environment_;
  Attempt& attempt_;
  const v1::FineTuningWork& work_;

  // From Train: of an adapter's run to its end, of the weights' until their copies are gone.
  MemoryShares::Share memory_;
  std::string dataset_;  // until Encode
  std::string sealed_vector_;
  std::shared_ptr<const BaseModel> base_;
  std::optional<LoraAdapter> start_;           // from FetchStart until Train
  SafetyInputs safety_;                        // its judge may run on base_
  EncodedDataset rows_;                        // from Encode until Train
  std::optional<SecurityVector> vector_;       // until Strip
  std::optional<DecoderModel> folded_;         // until MakeStreams or Strip
  std::optional<ActivationCheck> activation_;  // until Strip
  std::vector<Checkpoint> checkpoints_;        // from Train: what may be delivered, the best first
  size_t delivered_ = 0;                       // of checkpoints_, from Deliver
  v1::ProtectionProof proof_;
  SafetyResult before_;
  std::optional<SafetyResult> score_of_start_;
  std::string model_weights_;  // of a full-parameter result, from Deliver until Export
  std::string adapter_tar_sha256_;
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_AGENT_FINE_TUNING_RUN_H_
