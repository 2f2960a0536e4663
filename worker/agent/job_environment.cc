#include "worker/agent/job_environment.h"

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/agent/job_error.h"
#include "worker/model/out_of_memory.h"
#include "worker/safety/judge_rules.h"

namespace wardtune {

absl::StatusOr<SafetyResult> BaseScores::Get(const BaseModel& base, const SafetySuite& suite,
                                             const Judge& judge, const SamplingOptions& sampling,
                                             std::function<bool(int64_t)> progress) {
  const std::string key = absl::StrCat(base.weights_sha256, " ", suite.sha256, " ", judge.sha256(),
                                       " ", sampling.Digest());
  const auto found = scores_.find(key);
  if (found != scores_.end()) return found->second;
  WT_ASSIGN_OR_RETURN(SafetyResult result, ScoreSafety(base.model, {}, *base.tokenizer, suite,
                                                       judge, sampling, std::move(progress)));
  return scores_.emplace(key, std::move(result)).first->second;
}

absl::StatusOr<SafetyInputs> FetchSafetyInputs(Attempt& attempt) {
  SafetyInputs inputs;
  WT_ASSIGN_OR_RETURN(const std::string prompts,
                      attempt.Fetch(v1::WorkInput::KIND_SUITE_PROMPTS, kInputMissing));
  WT_ASSIGN_OR_RETURN(const std::string rules,
                      attempt.Fetch(v1::WorkInput::KIND_SUITE_RULES, kInputMissing));
  auto suite = ParseSafetySuite(prompts);
  if (!suite.ok()) return WithJobReason(kInputInvalid, suite.status());
  auto judge = ParseJudge(rules);
  if (!judge.ok()) return WithJobReason(kInputInvalid, judge.status());
  inputs.suite = *std::move(suite);
  inputs.judge = *std::move(judge);
  return inputs;
}

absl::StatusOr<std::shared_ptr<const BaseModel>> LoadBaseModel(const Attempt& attempt,
                                                               BaseModels& models) {
  auto base = models.Load(attempt.lease().base_model(), attempt.lease().base_sha256());
  if (base.ok() || IsOutOfMemory(base.status())) return base;
  return WithJobReason(kBaseModelMismatch, base.status(), /*retryable=*/true);
}

}  // namespace wardtune
