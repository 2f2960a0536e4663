// The training of a security vector from its lease to its result, stage by stage:
//
//   fetch -> load base -> answer harmful prompts, for guard rows, and general ones by the base ->
//   train -> add to an older version where one is named -> fold -> record canaries -> measure
//   (vector on, off, general prompts, KL)
//   -> seal -> upload -> complete
//
// What leaves this process is sealed: the vector and the checkpoints of its training.
// Thread safety: belongs to the attempt's thread.
#ifndef WARDTUNE_WORKER_AGENT_SECURITY_VECTOR_RUN_H_
#define WARDTUNE_WORKER_AGENT_SECURITY_VECTOR_RUN_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "worker/agent/attempt.h"
#include "worker/agent/job_environment.h"
#include "worker/security/security_vector.h"
#include "worker/security/security_vector_trainer.h"

namespace wardtune {

class SecurityVectorRun {
 public:
  // `environment` and `attempt` must outlive the run. REQUIRES: the lease is for a vector.
  SecurityVectorRun(JobEnvironment& environment, Attempt& attempt);

  // Runs the work to its end; FailureOf tells the reason of an error.
  absl::Status Run();

 private:
  absl::Status Fetch();
  absl::Status LoadBase();
  absl::Status OpenAddedTo();
  absl::Status EncodeHarmfulRows();
  absl::Status MakeGuardRows(const std::vector<ChatRow>& harmful);
  absl::StatusOr<std::vector<TrainingRow>> AnswerPromptsOf(const std::vector<ChatRow>& rows);
  absl::Status AnswerGeneralPrompts();
  void AddGeneralGuardRows();
  absl::Status Train();
  absl::Status AddToOlder();
  absl::Status Fold();
  absl::Status RecordCanaryLogits();
  absl::Status Measure();
  absl::Status MeasureGeneral();
  absl::Status SealAndUpload();
  absl::Status Complete();

  JobEnvironment& environment_;
  Attempt& attempt_;
  const VectorRecipe recipe_;

  std::string harmful_;
  std::string general_;
  std::string sealed_added_;
  std::shared_ptr<const BaseModel> base_;
  SafetyInputs safety_;  // its judge may run on base_
  SafetySuite general_suite_;
  std::optional<SecurityVector> added_to_;  // until AddToOlder
  std::vector<TrainingRow> harmful_rows_;
  std::vector<TrainingRow> general_rows_;
  std::vector<std::vector<int32_t>> canary_prompts_;
  SecurityVector vector_;
  std::optional<DecoderModel> folded_;
  v1::EvaluationCard card_;
  std::string sealed_sha256_;
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_AGENT_SECURITY_VECTOR_RUN_H_
