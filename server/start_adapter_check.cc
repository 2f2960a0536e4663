#include "server/start_adapter_check.h"

#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/handlers/resource_messages.h"
#include "server/resource_names.h"
#include "server/rpc/error_details.h"
#include "server/safety_gate.h"
#include "storage/error_reason.h"

namespace wardtune {
namespace {

constexpr std::string_view kReasonChainTooLong = "CHAIN_TOO_LONG";

}  // namespace

absl::Status CheckStartAdapter(const AdapterRecord& start, const BaseModelRecord& model,
                               const ServerLimits& limits) {
  if (start.base_model != model.id) {
    return InvalidField("start_adapter",
                        absl::StrCat("is an adapter of ", BaseModelName(start.base_model),
                                     ", not of ", BaseModelName(model.id)));
  }
  if (MethodOf(start) == v1::Hyperparameters::METHOD_FULL_PARAMETER) {
    return InvalidField("start_adapter",
                        "is a whole model, of a job that trained all weights; chains go on from "
                        "LoRA adapters, so start from one or from the base model");
  }
  if (start.gate.state == GateState::kQuarantined) {
    return WithReason(absl::FailedPreconditionError(absl::StrCat(
                          "start_adapter: the adapter is quarantined by the safety gate (",
                          ShortReason(ToMessage(start).gate()),
                          "); start from another, or ask the provider to review and release it")),
                      kReasonAdapterQuarantined);
  }
  if (start.base_sha256 != model.sha256) {
    return WithReason(
        absl::FailedPreconditionError(absl::StrCat(
            "start_adapter: it was made on other files of ", BaseModelName(model.id), " (digest ",
            start.base_sha256, ", now ", model.sha256, "); start from the base model")),
        kReasonStartBaseChanged);
  }
  if (start.chain_length >= limits.max_chained_jobs) {
    return WithReason(
        absl::FailedPreconditionError(absl::StrCat(
            "start_adapter: ", start.chain_length, " jobs made it one after the other, and the ",
            "provider allows chains of at most ", limits.max_chained_jobs,
            "; start from the base model with all rows in one data set, or from an adapter "
            "further up the chain")),
        kReasonChainTooLong);
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::Hyperparameters> WithLoraOf(const AdapterRecord& start,
                                               const v1::Hyperparameters& requested) {
  const auto made_with = ParseStored<v1::Hyperparameters>(start.spec);
  v1::Hyperparameters result = requested;
  std::vector<FieldViolation> violations;
  if (requested.method() == v1::Hyperparameters::METHOD_FULL_PARAMETER) {
    violations.push_back({"hyperparameters.method",
                          "must be METHOD_LORA with a start adapter; leave one of both out"});
  }
  const auto differs = [&](const char* field, const auto& wanted, const auto& own) {
    violations.push_back({absl::StrCat("hyperparameters.", field),
                          absl::StrCat("is ", wanted, ", but start_adapter has ", own,
                                       "; leave it out to take that over")});
  };
  if (requested.lora_rank() == 0) {
    result.set_lora_rank(made_with.lora_rank());
  } else if (requested.lora_rank() != made_with.lora_rank()) {
    differs("lora_rank", requested.lora_rank(), made_with.lora_rank());
  }
  if (requested.lora_alpha() == 0) {
    result.set_lora_alpha(made_with.lora_alpha());
  } else if (requested.lora_alpha() != made_with.lora_alpha()) {
    differs("lora_alpha", requested.lora_alpha(), made_with.lora_alpha());
  }
  const auto& wanted = requested.target_modules();
  const auto& own = made_with.target_modules();
  if (wanted.empty()) {
    *result.mutable_target_modules() = own;
  } else if (std::set<std::string>(wanted.begin(), wanted.end()) !=
             std::set<std::string>(own.begin(), own.end())) {
    differs("target_modules", absl::StrJoin(wanted, ", "), absl::StrJoin(own, ", "));
  }
  if (!violations.empty()) return InvalidFields(violations);
  return result;
}

}  // namespace wardtune
