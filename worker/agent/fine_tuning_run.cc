#include "worker/agent/fine_tuning_run.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "worker/agent/delivered_adapter.h"
#include "worker/agent/job_error.h"
#include "worker/agent/model_export.h"
#include "worker/agent/row_encoding.h"
#include "worker/agent/row_scan_stage.h"
#include "worker/agent/safety_messages.h"
#include "worker/model/weight_difference.h"
#include "worker/model/weight_writer.h"
#include "worker/security/strip_check.h"
#include "worker/security/vector_parts.h"

namespace wardtune {

absl::Status FineTuningRun::Run() {
  WT_RETURN_IF_ERROR(Fetch());
  WT_RETURN_IF_ERROR(LoadBase());
  WT_RETURN_IF_ERROR(FetchStart());
  WT_RETURN_IF_ERROR(OpenVector());
  WT_RETURN_IF_ERROR(Fold());
  WT_RETURN_IF_ERROR(CheckActive());
  WT_RETURN_IF_ERROR(Encode());
  WT_RETURN_IF_ERROR(ScanRows());
  WT_RETURN_IF_ERROR(ScoreBase());
  WT_RETURN_IF_ERROR(ScoreStart());
  WT_RETURN_IF_ERROR(Train());
  WT_RETURN_IF_ERROR(Strip());
  WT_RETURN_IF_ERROR(ScoreResult());
  WT_RETURN_IF_ERROR(Export());
  return Complete();
}

absl::Status FineTuningRun::Fetch() {
  attempt_.StartPhase(v1::FineTuningJob::PHASE_PREPARING, 0, 3);
  WT_ASSIGN_OR_RETURN(sealed_vector_,
                      attempt_.Fetch(v1::WorkInput::KIND_SECURITY_VECTOR, kSecurityVectorMissing));
  WT_ASSIGN_OR_RETURN(dataset_, attempt_.Fetch(v1::WorkInput::KIND_DATASET, kInputMissing));
  return attempt_.GoOn();
}

absl::Status FineTuningRun::LoadBase() {
  WT_ASSIGN_OR_RETURN(base_, LoadBaseModel(attempt_, environment_.base_models));
  WT_ASSIGN_OR_RETURN(safety_, FetchSafetyInputs(attempt_, *base_, environment_.sampling));
  proof_.set_base_sha256(base_->folder_sha256);
  proof_.set_base_weights_sha256(base_->weights_sha256);
  return attempt_.GoOn();
}

absl::Status FineTuningRun::FetchStart() {
  proof_.set_chain_length(work_.chain_length());
  if (!work_.has_start_adapter()) return absl::OkStatus();
  WT_ASSIGN_OR_RETURN(
      start_, FetchDeliveredAdapter(attempt_, v1::WorkInput::KIND_START_ADAPTER,
                                    work_.start_adapter(), work_.hyperparameters(), *base_));
  proof_.set_start_adapter(work_.start_adapter().name());
  proof_.set_start_adapter_sha256(AdapterDigest(*start_));
  return attempt_.GoOn();
}

absl::Status FineTuningRun::OpenVector() {
  const SecurityVectorIdentity identity = {.version = work_.security_vector_version(),
                                           .sha256 = work_.security_vector_sha256(),
                                           .base_sha256 = base_->folder_sha256};
  auto vector = OpenSecurityVector(environment_.sealing_keys, identity, base_->model.config(),
                                   sealed_vector_);
  if (!vector.ok()) return SecurityVectorError(vector.status());
  vector_ = *std::move(vector);
  proof_.set_security_vector_version(identity.version);
  proof_.set_security_vector_sha256(SecurityVectorDigest(*vector_));
  return absl::OkStatus();
}

absl::Status FineTuningRun::Fold() {
  WT_ASSIGN_OR_RETURN(folded_, FoldAdapter(base_->model, vector_->adapter));
  proof_.set_folded_sha256(folded_->WeightsDigest());
  if (proof_.folded_sha256() == base_->weights_sha256) {
    return SecurityVectorError(absl::FailedPreconditionError(
        "folding the security vector changed no weight of the base model"));
  }
  return absl::OkStatus();
}

absl::Status FineTuningRun::CheckActive() {
  auto activation = ActivationCheck::Create(vector_->canaries, base_->model);
  if (!activation.ok()) return SecurityVectorError(activation.status());
  activation_ = *std::move(activation);
  WT_RETURN_IF_ERROR(SecurityVectorError(activation_->Check(*folded_)));
  return attempt_.GoOn();
}

absl::Status FineTuningRun::Encode() {
  auto encoded =
      EncodeDataset(*base_->tokenizer, dataset_, work_.hyperparameters().max_row_tokens());
  // Not needed any more, and as large as the customer's limit allows.
  std::string().swap(dataset_);
  if (!encoded.ok()) return WithJobReason(kInputInvalid, encoded.status());
  rows_ = *std::move(encoded);
  return attempt_.GoOn();
}

absl::Status FineTuningRun::ScanRows() {
  const v1::RowScanWork& scan = work_.row_scan();
  if (!AsksForScan(scan)) return absl::OkStatus();
  v1::RowScanOutcome outcome = scan.recorded();
  if (!outcome.has_report()) {
    WT_ASSIGN_OR_RETURN(outcome,
                        ScanDataset(attempt_, work_, base_->model, *folded_, *vector_, rows_));
  }
  proof_.set_rows_scanned(outcome.report().rows_scanned());
  proof_.set_rows_dropped(outcome.report().dropped_rows());
  attempt_.ReportRowScan(outcome);
  WT_RETURN_IF_ERROR(RefuseSuspicious(scan, outcome.report()));
  WT_RETURN_IF_ERROR(DropRows(outcome, rows_));
  return attempt_.GoOn();
}

absl::Status FineTuningRun::ScoreBase() {
  attempt_.StartPhase(v1::FineTuningJob::PHASE_SCORING_BASE, 8, start_ ? 13 : 18);
  WT_ASSIGN_OR_RETURN(before_, wardtune::ScoreBase(environment_, attempt_, *base_, safety_));
  attempt_.ReportSafetyBefore(ToMessage(before_));
  return attempt_.GoOn();
}

absl::Status FineTuningRun::ScoreStart() {
  if (!start_) return absl::OkStatus();
  attempt_.StartPhase(v1::FineTuningJob::PHASE_SCORING_BASE, 13, 18);
  WT_ASSIGN_OR_RETURN(score_of_start_,
                      ScoreAdapter(environment_, attempt_, *base_, safety_, *start_));
  return attempt_.GoOn();
}

// The largest of what is delivered, an adapter's delta or how far a model's weights are from the
// base's, to the vector and to each of its parts: one of five alike is less than half of their sum.
absl::StatusOr<double> FineTuningRun::CosineToVector(const Checkpoint& checkpoint) const {
  std::vector<LoraAdapter> parts;
  if (vector_->parts.size() > 1) {
    WT_ASSIGN_OR_RETURN(parts, SplitIntoParts(vector_->adapter, vector_->parts));
  }
  std::optional<WeightDifference> learned;
  if (checkpoint.adapter() == nullptr) {
    WT_ASSIGN_OR_RETURN(learned, WeightDifference::Between(*checkpoint.model(), base_->model));
  }
  const auto cosine_to = [&](const LoraAdapter& vector) {
    return learned ? MaxDeltaCosine(learned->view(), vector)
                   : MaxDeltaCosine(*checkpoint.adapter(), vector);
  };
  WT_ASSIGN_OR_RETURN(double largest, cosine_to(vector_->adapter));
  for (const LoraAdapter& part : parts) {
    WT_ASSIGN_OR_RETURN(const double cosine, cosine_to(part));
    if (!(cosine <= largest)) largest = cosine;  // NaN too
  }
  return largest;
}

absl::StatusOr<double> FineTuningRun::StripCosine(const Checkpoint& checkpoint) const {
  const absl::StatusOr<double> cosine = CosineToVector(checkpoint);
  if (!cosine.ok()) return WithJobReason(kStripFailed, cosine.status());
  // `!(a <= b)` also catches NaN.
  if (!(*cosine <= kStripMaxCosine)) {
    return WithJobReason(kStripFailed, absl::InternalError(absl::StrCat(
                                           "the result's delta has cosine ", *cosine,
                                           " to the security vector's, at most ", kStripMaxCosine,
                                           " is allowed; nothing is delivered")));
  }
  return cosine;
}

absl::Status FineTuningRun::Strip() {
  proof_.set_canary_checks(activation_->checks());
  proof_.set_canary_max_abs_diff(activation_->max_abs_diff());
  proof_.set_canary_tolerance(activation_->tolerance());
  for (Checkpoint& checkpoint : checkpoints_) {
    WT_ASSIGN_OR_RETURN(checkpoint.strip_cosine, StripCosine(checkpoint));
  }
  // From here on only the plain base exists.
  folded_.reset();
  vector_.reset();
  activation_.reset();
  sealed_vector_.clear();
  return absl::OkStatus();
}

absl::Status FineTuningRun::ScoreCheckpoint(Checkpoint& checkpoint) {
  WT_ASSIGN_OR_RETURN(
      checkpoint.score,
      checkpoint.model() != nullptr
          ? ScoreModel(environment_, attempt_, *base_, safety_, *checkpoint.model())
          : ScoreAdapter(environment_, attempt_, *base_, safety_, *checkpoint.adapter()));
  if (checkpoints_.size() == 1) return absl::OkStatus();  // nothing to choose
  WT_ASSIGN_OR_RETURN(const v1::SafetyGate gate,
                      attempt_.Judge(ToMessage(before_), ToMessage(*checkpoint.score)));
  checkpoint.gate = gate.state();
  return absl::OkStatus();
}

absl::Status FineTuningRun::Deliver(size_t checkpoint) {
  delivered_ = checkpoint;
  const Checkpoint& chosen = checkpoints_[delivered_];
  if (chosen.validation_loss) attempt_.ReportBest(chosen.step, *chosen.validation_loss);
  if (chosen.model() != nullptr) {
    WT_ASSIGN_OR_RETURN(model_weights_, SerializeModelWeights(*chosen.model()));
    proof_.set_adapter_sha256(Sha256Hex(model_weights_));
  } else {
    proof_.set_adapter_sha256(AdapterDigest(*chosen.adapter()));
  }
  proof_.set_strip_max_cosine(chosen.strip_cosine);
  return absl::OkStatus();
}

absl::Status FineTuningRun::ScoreResult() {
  const double percent_each = (97.0 - 80.0) / static_cast<double>(checkpoints_.size());
  std::optional<size_t> passed;
  for (size_t i = 0; i < checkpoints_.size(); ++i) {
    const double from = 80.0 + static_cast<double>(i) * percent_each;
    attempt_.StartPhase(v1::FineTuningJob::PHASE_SCORING_RESULT, from, from + percent_each);
    WT_RETURN_IF_ERROR(ScoreCheckpoint(checkpoints_[i]));
    if (!passed && checkpoints_[i].gate == v1::SafetyGate::STATE_AVAILABLE) passed = i;
  }
  WT_RETURN_IF_ERROR(Deliver(passed.value_or(0)));
  WT_ASSIGN_OR_RETURN(*proof_.mutable_scored_base_sha256(), DigestOfScoredBase(*base_));
  return attempt_.GoOn();
}

absl::StatusOr<std::string> FineTuningRun::ResultTar(const ResultFacts& facts) {
  const Checkpoint& chosen = checkpoints_[delivered_];
  if (chosen.adapter() != nullptr) return ExportAdapter(*chosen.adapter(), facts);
  auto companions = environment_.base_models.Companions(*base_);
  if (!companions.ok()) {
    return WithJobReason(kBaseModelMismatch, companions.status(), /*retryable=*/true);
  }
  return ExportModel(std::exchange(model_weights_, {}), *std::move(companions), facts);
}

absl::Status FineTuningRun::Export() {
  attempt_.StartPhase(v1::FineTuningJob::PHASE_EXPORTING, 97, 100);
  const ResultFacts facts = {.base_model = attempt_.lease().base_model(),
                             .hyperparameters = work_.hyperparameters(),
                             .proof = proof_,
                             .dataset_sha256 = attempt_.InputDigest(v1::WorkInput::KIND_DATASET),
                             .progress = attempt_.progress(),
                             .before = before_,
                             .start = score_of_start_,
                             .after = *checkpoints_[delivered_].score};
  WT_ASSIGN_OR_RETURN(const std::string tar, ResultTar(facts));
  WT_ASSIGN_OR_RETURN(adapter_tar_sha256_, attempt_.Upload(v1::UploadArtifactRequest::KIND_ADAPTER,
                                                           tar, attempt_.progress().step()));
  return attempt_.GoOn();
}

void FineTuningRun::ReportCheckpoints(v1::FineTuningResult& result) const {
  if (checkpoints_.size() == 1) return;
  for (const Checkpoint& checkpoint : checkpoints_) {
    v1::CheckpointScore& score = *result.add_checkpoints();
    score.set_step(checkpoint.step);
    score.set_validation_loss(checkpoint.validation_loss.value_or(0.0));
    *score.mutable_safety() = ToMessage(*checkpoint.score);
    score.set_gate(checkpoint.gate);
    score.set_delivered(&checkpoint == &checkpoints_[delivered_]);
  }
}

absl::Status FineTuningRun::Complete() {
  v1::CompleteJobRequest request;
  v1::FineTuningResult& result = *request.mutable_fine_tuning();
  result.set_adapter_sha256(adapter_tar_sha256_);
  *result.mutable_safety_before() = ToMessage(before_);
  if (score_of_start_) *result.mutable_safety_start() = ToMessage(*score_of_start_);
  *result.mutable_safety_after() = ToMessage(*checkpoints_[delivered_].score);
  *result.mutable_proof() = proof_;
  *result.mutable_progress() = attempt_.progress();
  ReportCheckpoints(result);
  if (attempt_.row_scan().has_report()) *result.mutable_row_scan() = attempt_.row_scan();
  return attempt_.Complete(std::move(request));
}

}  // namespace wardtune
