// What every run of this process shares.
// Thread safety: used by one thread at a time, the one that has the turn, but for `turns` itself,
// BaseModels::Names and what does not change.
#ifndef WARDTUNE_WORKER_AGENT_JOB_ENVIRONMENT_H_
#define WARDTUNE_WORKER_AGENT_JOB_ENVIRONMENT_H_

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "worker/agent/base_models.h"
#include "worker/agent/compute_turns.h"
#include "worker/agent/memory_shares.h"
#include "worker/agent/training_loop.h"
#include "worker/safety/safety_scorer.h"
#include "worker/security/sealing_keys.h"

namespace wardtune {

// Scores of plain base models: every job on the same base and suite has the same one.
class BaseScores {
 public:
  // The score of `base`, computed at the first call with these arguments.
  absl::StatusOr<SafetyResult> Get(const BaseModel& base, const SafetySuite& suite,
                                   const Judge& judge, const SamplingOptions& sampling,
                                   std::function<bool(int64_t)> progress);

 private:
  std::map<std::string, SafetyResult> scores_;
};

struct JobEnvironment {
  BaseModels& base_models;
  const SealingKeys& sealing_keys;
  BaseScores& base_scores;
  ComputeTurns& turns;
  MemoryShares& memory;
  SamplingOptions sampling;
  CheckpointPolicy checkpoints;
  int jobs_at_once = 1;
};

// Suite and judge of a lease.
struct SafetyInputs {
  SafetySuite suite;
  std::unique_ptr<Judge> judge;
};
// A judge that is a language model runs on `base`, which must outlive it.
// Errors: those of Attempt::Fetch; the reason INPUT_INVALID for a suite, rules or a judge's adapter
// that do not parse, and as CheckPromptsFit.
absl::StatusOr<SafetyInputs> FetchSafetyInputs(Attempt& attempt, const BaseModel& base,
                                               const SamplingOptions& sampling);
// The reason INPUT_INVALID where a prompt and its answer are longer than the model's context: told
// before training and not after it.
absl::Status CheckPromptsFit(const SafetySuite& suite, const BaseModel& base,
                             const SamplingOptions& sampling);

// Score of the plain base, and of the base under `adapter`; tell the attempt's phase how far they
// are. Errors: those of ScoreSafety.
absl::StatusOr<SafetyResult> ScoreBase(JobEnvironment& environment, Attempt& attempt,
                                       const BaseModel& base, const SafetyInputs& safety);
absl::StatusOr<SafetyResult> ScoreAdapter(const JobEnvironment& environment, Attempt& attempt,
                                          const BaseModel& base, const SafetyInputs& safety,
                                          const LoraAdapter& adapter);
// Score of a model that was trained from the base.
absl::StatusOr<SafetyResult> ScoreModel(const JobEnvironment& environment, Attempt& attempt,
                                        const BaseModel& base, const SafetyInputs& safety,
                                        const DecoderModel& model);

// SHA-256 over the base's tensors, measured after scoring, so that a score of weights that changed
// meanwhile is none. Errors: the reason BASE_MODEL_MISMATCH, retryable, where they did.
absl::StatusOr<std::string> DigestOfScoredBase(const BaseModel& base);

// The lease's base model. Errors: the reason BASE_MODEL_MISMATCH, retryable, where this worker's
// folder is missing or another.
absl::StatusOr<std::shared_ptr<const BaseModel>> LoadBaseModel(const Attempt& attempt,
                                                               BaseModels& models);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_AGENT_JOB_ENVIRONMENT_H_
