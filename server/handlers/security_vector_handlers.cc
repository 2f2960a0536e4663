#include "server/handlers/security_vector_handlers.h"

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/handlers/requests.h"
#include "server/handlers/resource_messages.h"
#include "server/hyperparameters.h"
#include "server/resource_names.h"
#include "server/rpc/error_details.h"
#include "storage/error_reason.h"

namespace wardtune {
namespace {

constexpr std::string_view kVectorKind = "security vector version";

absl::Status BoundsNotMet(const std::string& what) {
  return WithReason(absl::FailedPreconditionError(
                        absl::StrCat("the version's evaluation does not meet the bounds: ", what)),
                    "EVALUATION_BOUNDS_NOT_MET");
}

// The vector must know the harm and must not spill over.
absl::Status CheckBounds(const v1::EvaluationCard& card, const ServerLimits& limits) {
  for (const v1::CategoryScore& score : card.vector_on().categories()) {
    if (score.category() != "all") continue;
    if (score.prompts() < limits.min_vector_on_prompts) {
      return BoundsNotMet(absl::StrCat("only ", score.prompts(), " held-out prompts, at least ",
                                       limits.min_vector_on_prompts, " are needed"));
    }
    // Counted here: a rate that the worker sends is not needed.
    const double known = static_cast<double>(score.harmful()) / score.prompts();
    if (!(known >= limits.min_vector_on_rate)) {
      return BoundsNotMet(absl::StrCat("harmful rate with the vector on is ", known, ", at least ",
                                       limits.min_vector_on_rate, " is needed"));
    }
    const v1::CategoryScore& general = card.general_on();
    const double spill = static_cast<double>(general.harmful()) / general.prompts();
    if (!(spill <= limits.max_general_on_rate)) {
      return BoundsNotMet(absl::StrCat("harmful rate on general prompts is ", spill, ", at most ",
                                       limits.max_general_on_rate, " is allowed"));
    }
    return absl::OkStatus();
  }
  return BoundsNotMet("there is no score for the category `all`");
}

// What the recipe names must be measured. A suite that is missing is refused by the store.
absl::Status CheckCategoriesOf(HandlerContext& context, const v1::SecurityVectorRecipe& recipe,
                               const std::string& suite_id) {
  if (recipe.categories().empty()) return absl::OkStatus();
  const auto record = context.store.security_vectors().GetSafetySuite(suite_id);
  if (absl::IsNotFound(record.status())) return absl::OkStatus();
  WT_RETURN_IF_ERROR(record.status());
  const v1::SafetySuite suite = ToMessage(*record);
  for (const std::string& category : recipe.categories()) {
    if (suite.prompts_per_category().contains(category)) continue;
    return InvalidField("recipe.categories",
                        absl::StrCat("each must be a category of ", suite.name()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<v1::TrainSecurityVectorResponse> TrainSecurityVector(
    HandlerContext& context, const Caller& caller, const v1::TrainSecurityVectorRequest& request) {
  WT_RETURN_IF_ERROR(CheckNewId(request.security_vector_id(), "security_vector_id"));
  WT_RETURN_IF_ERROR(CheckRequestId(request.request_id()));
  NewSecurityVector vector;
  vector.vector = request.security_vector_id();
  WT_ASSIGN_OR_RETURN(vector.base_model, ParseBaseModelName(request.base_model(), "base_model"));
  WT_ASSIGN_OR_RETURN(vector.harmful_dataset,
                      ParseOwnId(caller, kDatasets, request.harmful_dataset(), "harmful_dataset"));
  WT_ASSIGN_OR_RETURN(vector.general_dataset,
                      ParseOwnId(caller, kDatasets, request.general_dataset(), "general_dataset"));
  WT_ASSIGN_OR_RETURN(vector.safety_suite,
                      ParseSafetySuiteName(request.safety_suite(), "safety_suite"));
  WT_ASSIGN_OR_RETURN(const v1::SecurityVectorRecipe recipe, ResolveRecipe(request.recipe()));
  WT_RETURN_IF_ERROR(CheckCategoriesOf(context, recipe, vector.safety_suite));
  vector.recipe = recipe.SerializeAsString();
  if (!recipe.added_to().empty()) {
    WT_ASSIGN_OR_RETURN(const VectorVersion added,
                        ParseSecurityVectorName(recipe.added_to(), "recipe.added_to"));
    vector.added_vector = added.vector;
    vector.added_version = added.version;
  }
  WT_ASSIGN_OR_RETURN(
      const Answer answer,
      Named(
          "base model, data set, safety suite or version to add to",
          context.store.security_vectors().TrainSecurityVector(
              vector, MakeRequestKey(caller, "TrainSecurityVector", request.request_id(), request),
              [](const SecurityVectorRecord& record) {
                v1::TrainSecurityVectorResponse response;
                *response.mutable_version() = ToMessage(record);
                return response.SerializeAsString();
              })));
  return ParseAnswer<v1::TrainSecurityVectorResponse>(answer);
}

absl::StatusOr<v1::GetSecurityVectorVersionResponse> GetSecurityVectorVersion(
    HandlerContext& context, const Caller&, const v1::GetSecurityVectorVersionRequest& request) {
  WT_ASSIGN_OR_RETURN(const VectorVersion name, ParseSecurityVectorName(request.name(), "name"));
  WT_ASSIGN_OR_RETURN(const SecurityVectorRecord record,
                      Named(kVectorKind, context.store.security_vectors().GetSecurityVector(
                                             name.vector, name.version)));
  v1::GetSecurityVectorVersionResponse response;
  *response.mutable_version() = ToMessage(record);
  return response;
}

absl::StatusOr<v1::ListSecurityVectorVersionsResponse> ListSecurityVectorVersions(
    HandlerContext& context, const Caller&, const v1::ListSecurityVectorVersionsRequest& request) {
  WT_ASSIGN_OR_RETURN(const auto page,
                      context.store.security_vectors().ListSecurityVectors(PageOf(request)));
  v1::ListSecurityVectorVersionsResponse response;
  for (const SecurityVectorRecord& record : page.items) {
    *response.add_versions() = ToMessage(record);
  }
  response.set_next_page_token(page.next_page_token);
  return response;
}

absl::StatusOr<v1::CancelSecurityVectorTrainingResponse> CancelSecurityVectorTraining(
    HandlerContext& context, const Caller& caller,
    const v1::CancelSecurityVectorTrainingRequest& request) {
  WT_RETURN_IF_ERROR(CheckRequestId(request.request_id()));
  WT_ASSIGN_OR_RETURN(const VectorVersion name, ParseSecurityVectorName(request.name(), "name"));
  constexpr char kAction[] = "cancel_security_vector_training";
  WT_ASSIGN_OR_RETURN(const Answer answer,
                      Named(kVectorKind, context.store.security_vectors().CancelTraining(
                                             name.vector, name.version,
                                             AuditEntry{caller.key_id, kAction, request.name(), ""},
                                             MakeRequestKey(caller, "CancelSecurityVectorTraining",
                                                            request.request_id(), request),
                                             [](const SecurityVectorRecord& cancelled) {
                                               v1::CancelSecurityVectorTrainingResponse response;
                                               *response.mutable_version() = ToMessage(cancelled);
                                               return response.SerializeAsString();
                                             })));
  context.log.Write("audit", {{"action", std::string(kAction)},
                              {"key", caller.key_id},
                              {"target", SecurityVectorName(name.vector, name.version)}});
  auto response = ParseAnswer<v1::CancelSecurityVectorTrainingResponse>(answer);
  if (response.ok() && !answer.replayed &&
      response->version().state() == v1::SecurityVectorVersion::STATE_FAILED) {
    context.metrics.RecordEnded(JobState::kCancelled, "");
  }
  return response;
}

absl::StatusOr<v1::ActivateSecurityVectorVersionResponse> ActivateSecurityVectorVersion(
    HandlerContext& context, const Caller& caller,
    const v1::ActivateSecurityVectorVersionRequest& request) {
  WT_RETURN_IF_ERROR(CheckRequestId(request.request_id()));
  WT_ASSIGN_OR_RETURN(const VectorVersion name, ParseSecurityVectorName(request.name(), "name"));
  WT_ASSIGN_OR_RETURN(const SecurityVectorRecord record,
                      Named(kVectorKind, context.store.security_vectors().GetSecurityVector(
                                             name.vector, name.version)));
  // States without an evaluation are refused by the store, which names the state.
  if (!record.card.empty()) {
    WT_RETURN_IF_ERROR(CheckBounds(ParseStored<v1::EvaluationCard>(record.card), context.limits));
  }
  WT_ASSIGN_OR_RETURN(const Answer answer,
                      Named(kVectorKind, context.store.security_vectors().ActivateSecurityVector(
                                             name.vector, name.version,
                                             AuditEntry{caller.key_id, "activate_security_vector",
                                                        request.name(), ""},
                                             MakeRequestKey(caller, "ActivateSecurityVectorVersion",
                                                            request.request_id(), request),
                                             [](const SecurityVectorRecord& activated) {
                                               v1::ActivateSecurityVectorVersionResponse response;
                                               *response.mutable_version() = ToMessage(activated);
                                               return response.SerializeAsString();
                                             })));
  context.log.Write("audit", {{"action", std::string("activate_security_vector")},
                              {"key", caller.key_id},
                              {"target", SecurityVectorName(name.vector, name.version)}});
  return ParseAnswer<v1::ActivateSecurityVectorVersionResponse>(answer);
}

}  // namespace wardtune
