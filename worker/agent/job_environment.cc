#include "worker/agent/job_environment.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/agent/adapter_export.h"
#include "worker/agent/job_error.h"
#include "worker/model/out_of_memory.h"
#include "worker/safety/causal_lm_judge.h"
#include "worker/safety/judge_rules.h"

namespace wardtune {
namespace {

// `adapter_tar` is empty but for a language model's own adapter.
absl::StatusOr<std::unique_ptr<Judge>> MakeJudge(const std::string& rules,
                                                 const std::string& adapter_tar,
                                                 const std::string& adapter_sha256,
                                                 const BaseModel& base) {
  WT_ASSIGN_OR_RETURN(const std::string judge, JudgeOf(rules));
  if (judge != kCausalLmJudge) return ParseJudge(rules);
  std::optional<LoraAdapter> adapter;
  if (!adapter_tar.empty()) {
    WT_ASSIGN_OR_RETURN(adapter, ParseAdapterTar(adapter_tar, base.model.config()));
  }
  return CausalLmJudge::Create(rules, base.model, std::move(adapter), adapter_sha256,
                               *base.tokenizer);
}

absl::StatusOr<SafetyResult> Score(const JobEnvironment& environment, Attempt& attempt,
                                   const BaseModel& base, const SafetyInputs& safety,
                                   const DecoderModel& model, ActiveAdapters adapters) {
  const auto prompts = static_cast<int64_t>(safety.suite.prompts.size());
  return ScoreSafety(model, adapters, *base.tokenizer, safety.suite, *safety.judge,
                     environment.sampling, attempt.PromptProgress(prompts));
}

}  // namespace

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

absl::Status CheckPromptsFit(const SafetySuite& suite, const BaseModel& base,
                             const SamplingOptions& sampling) {
  const int64_t context = base.model.config().max_positions;
  for (size_t i = 0; i < suite.prompts.size(); ++i) {
    WT_ASSIGN_OR_RETURN(
        const std::vector<int32_t> ids,
        base.tokenizer->EncodePrompt({{.role = Role::kUser, .content = suite.prompts[i].prompt}}));
    const auto tokens = static_cast<int64_t>(ids.size());
    if (tokens + sampling.max_new_tokens <= context) continue;
    return WithJobReason(
        kInputInvalid,
        absl::InvalidArgumentError(absl::StrCat(
            "safety suite: prompt ", i + 1, " of ", suite.prompts.size(), " has ", tokens,
            " tokens; with ", sampling.max_new_tokens, " of the answer it does not fit the ",
            context, " of ", base.name, "; score by a suite without it")));
  }
  return absl::OkStatus();
}

absl::StatusOr<SafetyInputs> FetchSafetyInputs(Attempt& attempt, const BaseModel& base,
                                               const SamplingOptions& sampling) {
  SafetyInputs inputs;
  WT_ASSIGN_OR_RETURN(const std::string prompts,
                      attempt.Fetch(v1::WorkInput::KIND_SUITE_PROMPTS, kInputMissing));
  WT_ASSIGN_OR_RETURN(const std::string rules,
                      attempt.Fetch(v1::WorkInput::KIND_SUITE_RULES, kInputMissing));
  const std::string adapter_sha256 = attempt.InputDigest(v1::WorkInput::KIND_JUDGE_ADAPTER);
  std::string adapter;
  if (!adapter_sha256.empty()) {
    WT_ASSIGN_OR_RETURN(adapter, attempt.Fetch(v1::WorkInput::KIND_JUDGE_ADAPTER, kInputMissing));
  }
  auto suite = ParseSafetySuite(prompts);
  if (!suite.ok()) return WithJobReason(kInputInvalid, suite.status());
  auto judge = MakeJudge(rules, adapter, adapter_sha256, base);
  if (!judge.ok()) return WithJobReason(kInputInvalid, judge.status());
  WT_RETURN_IF_ERROR(CheckPromptsFit(*suite, base, sampling));
  inputs.suite = *std::move(suite);
  inputs.judge = *std::move(judge);
  return inputs;
}

absl::StatusOr<SafetyResult> ScoreBase(JobEnvironment& environment, Attempt& attempt,
                                       const BaseModel& base, const SafetyInputs& safety) {
  const auto prompts = static_cast<int64_t>(safety.suite.prompts.size());
  return environment.base_scores.Get(base, safety.suite, *safety.judge, environment.sampling,
                                     attempt.PromptProgress(prompts));
}

absl::StatusOr<SafetyResult> ScoreAdapter(const JobEnvironment& environment, Attempt& attempt,
                                          const BaseModel& base, const SafetyInputs& safety,
                                          const LoraAdapter& adapter) {
  const LoraAdapter* const scored[] = {&adapter};
  return Score(environment, attempt, base, safety, base.model, scored);
}

absl::StatusOr<SafetyResult> ScoreModel(const JobEnvironment& environment, Attempt& attempt,
                                        const BaseModel& base, const SafetyInputs& safety,
                                        const DecoderModel& model) {
  return Score(environment, attempt, base, safety, model, {});
}

absl::StatusOr<std::shared_ptr<const BaseModel>> LoadBaseModel(const Attempt& attempt,
                                                               BaseModels& models) {
  auto base = models.Load(attempt.lease().base_model(), attempt.lease().base_sha256());
  if (base.ok() || IsOutOfMemory(base.status())) return base;
  return WithJobReason(kBaseModelMismatch, base.status(), /*retryable=*/true);
}

absl::StatusOr<std::string> DigestOfScoredBase(const BaseModel& base) {
  std::string digest = base.model.WeightsDigest();
  if (digest == base.weights_sha256) return digest;
  return WithJobReason(
      kBaseModelMismatch,
      absl::DataLossError(absl::StrCat("the weights of ", base.name,
                                       " changed in this worker's memory: they had digest ",
                                       base.weights_sha256, " when they were loaded and ", digest,
                                       " after scoring; the score is dropped")),
      /*retryable=*/true);
}

}  // namespace wardtune
