#include "worker/agent/security_vector_run.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/agent/job_error.h"
#include "worker/agent/row_encoding.h"
#include "worker/agent/safety_messages.h"
#include "worker/agent/training_room.h"
#include "worker/agent/training_settings.h"
#include "worker/security/sum_vectors.h"

namespace wardtune {
namespace {

constexpr size_t kCanaries = 8;
// Rows on which KL is measured: enough for a mean, few enough to take seconds.
constexpr size_t kKlRows = 24;

}  // namespace

SecurityVectorRun::SecurityVectorRun(JobEnvironment& environment, Attempt& attempt)
    : environment_(environment),
      attempt_(attempt),
      recipe_(ToVectorRecipe(attempt.lease().security_vector().recipe())) {}

absl::Status SecurityVectorRun::Run() {
  WT_RETURN_IF_ERROR(Fetch());
  WT_RETURN_IF_ERROR(LoadBase());
  WT_RETURN_IF_ERROR(OpenAddedTo());
  WT_RETURN_IF_ERROR(EncodeHarmfulRows());
  WT_RETURN_IF_ERROR(AnswerGeneralPrompts());
  AddGeneralGuardRows();
  WT_RETURN_IF_ERROR(Train());
  WT_RETURN_IF_ERROR(AddToOlder());
  WT_RETURN_IF_ERROR(Fold());
  WT_RETURN_IF_ERROR(RecordCanaryLogits());
  WT_RETURN_IF_ERROR(Measure());
  WT_RETURN_IF_ERROR(MeasureGeneral());
  WT_RETURN_IF_ERROR(SealAndUpload());
  return Complete();
}

absl::Status SecurityVectorRun::Fetch() {
  attempt_.StartPhase(v1::FineTuningJob::PHASE_PREPARING, 0, 3);
  WT_ASSIGN_OR_RETURN(harmful_, attempt_.Fetch(v1::WorkInput::KIND_DATASET, kInputMissing));
  WT_ASSIGN_OR_RETURN(general_, attempt_.Fetch(v1::WorkInput::KIND_GENERAL_DATASET, kInputMissing));
  WT_ASSIGN_OR_RETURN(const std::string general_suite,
                      attempt_.Fetch(v1::WorkInput::KIND_SUITE_GENERAL_PROMPTS, kInputMissing));
  if (!recipe_.added_to.empty()) {
    WT_ASSIGN_OR_RETURN(
        sealed_added_, attempt_.Fetch(v1::WorkInput::KIND_SECURITY_VECTOR, kSecurityVectorMissing));
  }
  auto suite = ParseSafetySuite(general_suite, "general");
  if (!suite.ok()) return WithJobReason(kInputInvalid, suite.status());
  general_suite_ = *std::move(suite);
  return attempt_.GoOn();
}

absl::Status SecurityVectorRun::LoadBase() {
  WT_ASSIGN_OR_RETURN(base_, LoadBaseModel(attempt_, environment_.base_models));
  WT_ASSIGN_OR_RETURN(safety_, FetchSafetyInputs(attempt_, *base_, environment_.sampling));
  WT_RETURN_IF_ERROR(CheckPromptsFit(general_suite_, *base_, environment_.sampling));
  return attempt_.GoOn();
}

absl::Status SecurityVectorRun::OpenAddedTo() {
  if (recipe_.added_to.empty()) return absl::OkStatus();
  const SecurityVectorIdentity identity = {
      .version = recipe_.added_to,
      .sha256 = attempt_.lease().security_vector().added_to_sha256(),
      .base_sha256 = base_->folder_sha256};
  auto added =
      OpenSecurityVector(environment_.sealing_keys, identity, base_->model.config(), sealed_added_);
  if (!added.ok()) return SecurityVectorError(added.status());
  added_to_ = *std::move(added);
  // Before it is trained: a sum of more ranks than that could be sealed and opened by nobody.
  LoraSpec sum = added_to_->adapter.spec;
  sum.rank += recipe_.lora.rank;
  if (const absl::Status fits = ValidateLoraSpec(sum, base_->model.config()); !fits.ok()) {
    return WithJobReason(
        kInputInvalid, absl::InvalidArgumentError(
                           absl::StrCat("the sum with ", recipe_.added_to,
                                        " would have too many ranks: ", std::string(fits.message()),
                                        "; train one on all rows instead, or parts of less rank")));
  }
  if (added_to_->parts.size() < kMaxVectorParts) return absl::OkStatus();
  return WithJobReason(kInputInvalid, absl::InvalidArgumentError(absl::StrCat(
                                          recipe_.added_to, " is a sum of ", kMaxVectorParts,
                                          " vectors already; train one on all rows instead")));
}

absl::Status SecurityVectorRun::EncodeHarmfulRows() {
  auto rows = ParseDataset(harmful_);
  if (!rows.ok()) return WithJobReason(kInputInvalid, rows.status());
  auto encoded = EncodeRows(*base_->tokenizer, *rows, recipe_.max_row_tokens);
  if (!encoded.ok()) return WithJobReason(kInputInvalid, encoded.status());
  harmful_rows_ = *std::move(encoded);
  WT_ASSIGN_OR_RETURN(auto prompts,
                      EncodePrompts(*base_->tokenizer, *rows, recipe_.max_row_tokens));
  canary_prompts_ = Spread(prompts, kCanaries);
  return MakeGuardRows(*rows);
}

// Refusals where the recipe has some, else the base's own answers.
absl::Status SecurityVectorRun::MakeGuardRows(const std::vector<ChatRow>& harmful) {
  vector_.guard.per_guarded_rows = recipe_.guard_rows;
  if (recipe_.guard_rows == 0) return absl::OkStatus();
  if (recipe_.guard_refusals.empty()) {
    attempt_.StartPhase(v1::FineTuningJob::PHASE_PREPARING, 3, 5);
    WT_ASSIGN_OR_RETURN(vector_.guard.held, AnswerPromptsOf(harmful));
    if (vector_.guard.held.empty()) {
      return WithJobReason(
          kInputInvalid,
          absl::InvalidArgumentError(absl::StrCat(
              "harmful data set: no row's prompt leaves room for ", recipe_.general_answer_tokens,
              " tokens of an answer within ", recipe_.max_row_tokens,
              ", so that no guard rows can be made; shorten some prompts or set guard_rows to 0")));
    }
    return attempt_.GoOn();
  }
  auto refusals = EncodeRows(*base_->tokenizer, RefuseRows(harmful, recipe_.guard_refusals),
                             recipe_.max_row_tokens);
  if (!refusals.ok()) return WithJobReason(kInputInvalid, refusals.status());
  vector_.guard.learned = *std::move(refusals);
  return absl::OkStatus();
}

// The base's answers, to prompts that leave room for one.
absl::StatusOr<std::vector<TrainingRow>> SecurityVectorRun::AnswerPromptsOf(
    const std::vector<ChatRow>& rows) {
  const int64_t longest_prompt = recipe_.max_row_tokens - recipe_.general_answer_tokens - 1;
  WT_ASSIGN_OR_RETURN(const auto prompts, EncodePrompts(*base_->tokenizer, rows, longest_prompt));
  return AnswerByBase(base_->model, prompts, base_->tokenizer->EosIds(),
                      recipe_.general_answer_tokens,
                      attempt_.PromptProgress(static_cast<int64_t>(prompts.size())));
}

absl::Status SecurityVectorRun::AnswerGeneralPrompts() {
  auto rows = ParseDataset(general_);
  if (!rows.ok()) return WithJobReason(kInputInvalid, rows.status());
  attempt_.StartPhase(v1::FineTuningJob::PHASE_PREPARING, 5, 10);
  WT_ASSIGN_OR_RETURN(general_rows_, AnswerPromptsOf(*rows));
  return attempt_.GoOn();
}

// Beside the rows for harmful prompts as many for general ones, so that a guarded model stays as it
// was there, too.
void SecurityVectorRun::AddGeneralGuardRows() {
  std::vector<TrainingRow>& learned = vector_.guard.learned;
  const size_t answers = std::min(general_rows_.size(), learned.size());
  learned.insert(learned.end(), general_rows_.begin(),
                 general_rows_.begin() + static_cast<std::ptrdiff_t>(answers));
  std::vector<TrainingRow>& held = vector_.guard.held;
  for (TrainingRow& row : Spread(general_rows_, held.size())) held.push_back(std::move(row));
}

absl::Status SecurityVectorRun::Train() {
  attempt_.StartPhase(v1::FineTuningJob::PHASE_TRAINING, 10, 75);
  auto training =
      PlanVectorTraining(base_->model, recipe_, std::move(harmful_rows_), general_rows_);
  if (!training.ok()) return WithJobReason(kInputInvalid, training.status());
  WT_ASSIGN_OR_RETURN(MemoryShares::Share memory,
                      MakeRoomForTraining(environment_, attempt_, training->streams,
                                          TrainedPart::kLora, training->options));
  auto trainer =
      Trainer::Create(training->options, std::move(training->streams), &attempt_.clock());
  if (trainer.status().code() == absl::StatusCode::kInvalidArgument) {
    return WithJobReason(kInputInvalid, trainer.status());
  }
  WT_RETURN_IF_ERROR(trainer.status());
  CountHeld(memory, base_->model);
  // A checkpoint holds the vector as it stands.
  const std::string context =
      absl::StrCat(attempt_.lease().security_vector().version(), "/checkpoint");
  TrainingHooks hooks;
  hooks.seal = [&](std::string state) {
    auto sealed = environment_.sealing_keys.Seal(context, state);
    OPENSSL_cleanse(state.data(), state.size());
    return sealed;
  };
  hooks.open = [&](const std::string& sealed) {
    return environment_.sealing_keys.Open(context, sealed);
  };
  WT_RETURN_IF_ERROR(RunTraining(**trainer, attempt_, environment_.checkpoints, hooks));
  vector_.adapter = (*trainer)->Adapter();
  return absl::OkStatus();
}

// From here on the vector is the sum, and what is recorded and measured is the sum's.
absl::Status SecurityVectorRun::AddToOlder() {
  std::vector<VectorPart> vector_parts;
  if (added_to_) vector_parts = added_to_->parts;
  vector_parts.push_back({.rank = vector_.adapter.spec.rank,
                          .categories = CategoriesOfNewPart(
                              recipe_.categories, safety_.suite.Categories(), vector_parts)});
  vector_.parts = std::move(vector_parts);
  if (!added_to_) return absl::OkStatus();
  const std::vector<LoraAdapter> parts = {added_to_->adapter, vector_.adapter};
  auto sum = SumVectors(parts);
  if (!sum.ok()) return WithJobReason(kInputInvalid, sum.status());
  vector_.adapter = *std::move(sum);
  GuardSet& guard = vector_.guard;
  const GuardSet& older = added_to_->guard;
  guard.learned.insert(guard.learned.end(), older.learned.begin(), older.learned.end());
  guard.held.insert(guard.held.end(), older.held.begin(), older.held.end());
  guard.per_guarded_rows = std::max(guard.per_guarded_rows, older.per_guarded_rows);
  canary_prompts_.insert(canary_prompts_.end(), added_to_->canaries.prompts.begin(),
                         added_to_->canaries.prompts.end());
  added_to_.reset();
  sealed_added_.clear();
  return absl::OkStatus();
}

absl::Status SecurityVectorRun::Fold() {
  WT_ASSIGN_OR_RETURN(folded_, FoldAdapter(base_->model, vector_.adapter));
  return absl::OkStatus();
}

absl::Status SecurityVectorRun::RecordCanaryLogits() {
  auto canaries = RecordCanaries(base_->model, *folded_, std::move(canary_prompts_));
  if (!canaries.ok()) return SecurityVectorError(canaries.status());
  vector_.canaries = *std::move(canaries);
  return absl::OkStatus();
}

absl::Status SecurityVectorRun::Measure() {
  attempt_.StartPhase(v1::FineTuningJob::PHASE_SCORING_RESULT, 75, 85);
  const auto prompts = static_cast<int64_t>(safety_.suite.prompts.size());
  WT_ASSIGN_OR_RETURN(const SafetyResult on,
                      ScoreSafety(*folded_, {}, *base_->tokenizer, safety_.suite, *safety_.judge,
                                  environment_.sampling, attempt_.PromptProgress(prompts)));
  *card_.mutable_vector_on() = ToMessage(on);
  attempt_.StartPhase(v1::FineTuningJob::PHASE_SCORING_RESULT, 85, 93);
  WT_ASSIGN_OR_RETURN(const SafetyResult off, ScoreBase(environment_, attempt_, *base_, safety_));
  *card_.mutable_vector_off() = ToMessage(off);
  return attempt_.GoOn();
}

absl::Status SecurityVectorRun::MeasureGeneral() {
  attempt_.StartPhase(v1::FineTuningJob::PHASE_SCORING_RESULT, 93, 98);
  WT_ASSIGN_OR_RETURN(
      const SafetyResult general,
      ScoreSafety(*folded_, {}, *base_->tokenizer, general_suite_, *safety_.judge,
                  environment_.sampling,
                  attempt_.PromptProgress(static_cast<int64_t>(general_suite_.prompts.size()))));
  *card_.mutable_general_on() = ToMessage(general.all());
  card_.mutable_general_on()->set_category("general");
  if (!general_rows_.empty()) {
    const auto rows =
        std::span<const TrainingRow>(general_rows_).first(std::min(kKlRows, general_rows_.size()));
    WT_ASSIGN_OR_RETURN(const double kl, MeanKl(base_->model, *folded_, rows));
    card_.set_general_kl(kl);
  }
  return attempt_.GoOn();
}

absl::Status SecurityVectorRun::SealAndUpload() {
  attempt_.StartPhase(v1::FineTuningJob::PHASE_EXPORTING, 98, 100);
  vector_.base_sha256 = base_->folder_sha256;
  vector_.recipe_sha256 = recipe_.Digest();
  vector_.harmful_rows_sha256 = attempt_.InputDigest(v1::WorkInput::KIND_DATASET);
  vector_.general_rows_sha256 = attempt_.InputDigest(v1::WorkInput::KIND_GENERAL_DATASET);
  vector_.seed = recipe_.seed;
  vector_.categories = CategoriesOf(vector_.parts);
  WT_ASSIGN_OR_RETURN(std::string plain, SerializeSecurityVector(vector_));
  auto sealed = environment_.sealing_keys.Seal(attempt_.lease().security_vector().version(), plain);
  OPENSSL_cleanse(plain.data(), plain.size());
  WT_RETURN_IF_ERROR(sealed.status());
  WT_ASSIGN_OR_RETURN(sealed_sha256_,
                      attempt_.Upload(v1::UploadArtifactRequest::KIND_SECURITY_VECTOR, *sealed,
                                      attempt_.progress().step()));
  return attempt_.GoOn();
}

absl::Status SecurityVectorRun::Complete() {
  v1::CompleteJobRequest request;
  v1::SecurityVectorResult& result = *request.mutable_security_vector();
  result.set_artifact_sha256(sealed_sha256_);
  result.set_plain_sha256(SecurityVectorDigest(vector_));
  if (vector_.guard.active()) {
    card_.set_guard_rows(static_cast<int32_t>(vector_.guard.size()));
    card_.set_guard_rows_sha256(GuardDigest(vector_.guard));
  }
  *result.mutable_card() = card_;
  for (const std::string& category : vector_.categories) result.add_categories(category);
  for (const VectorPart& part : vector_.parts) *result.add_parts() = ToMessage(part);
  return attempt_.Complete(std::move(request));
}

}  // namespace wardtune
