// SecurityVectorService: suites, training and activation. No answer holds weights.
// Thread safety: re-entrant functions; see handler_context.h.
#ifndef WARDTUNE_SERVER_HANDLERS_SECURITY_VECTOR_HANDLERS_H_
#define WARDTUNE_SERVER_HANDLERS_SECURITY_VECTOR_HANDLERS_H_

#include "absl/status/statusor.h"
#include "server/handlers/handler_context.h"
#include "server/rpc/caller.h"
#include "wardtune/v1/security_vector_service.pb.h"

namespace wardtune {

// In safety_suite_handlers.cc.
absl::StatusOr<v1::CreateSafetySuiteResponse> CreateSafetySuite(
    HandlerContext& context, const Caller& caller, const v1::CreateSafetySuiteRequest& request);
absl::StatusOr<v1::ListSafetySuitesResponse> ListSafetySuites(
    HandlerContext& context, const Caller& caller, const v1::ListSafetySuitesRequest& request);

absl::StatusOr<v1::TrainSecurityVectorResponse> TrainSecurityVector(
    HandlerContext& context, const Caller& caller, const v1::TrainSecurityVectorRequest& request);
absl::StatusOr<v1::GetSecurityVectorVersionResponse> GetSecurityVectorVersion(
    HandlerContext& context, const Caller& caller,
    const v1::GetSecurityVectorVersionRequest& request);
absl::StatusOr<v1::ListSecurityVectorVersionsResponse> ListSecurityVectorVersions(
    HandlerContext& context, const Caller& caller,
    const v1::ListSecurityVectorVersionsRequest& request);
absl::StatusOr<v1::CancelSecurityVectorTrainingResponse> CancelSecurityVectorTraining(
    HandlerContext& context, const Caller& caller,
    const v1::CancelSecurityVectorTrainingRequest& request);
absl::StatusOr<v1::ActivateSecurityVectorVersionResponse> ActivateSecurityVectorVersion(
    HandlerContext& context, const Caller& caller,
    const v1::ActivateSecurityVectorVersionRequest& request);

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_HANDLERS_SECURITY_VECTOR_HANDLERS_H_
