#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/handlers/requests.h"
#include "server/handlers/resource_messages.h"
#include "server/handlers/security_vector_handlers.h"
#include "server/resource_names.h"
#include "server/safety_suite_check.h"

namespace wardtune {
namespace {

constexpr size_t kMaxPromptsBytes = 3 << 20;
constexpr size_t kMaxRulesBytes = 256 << 10;
constexpr size_t kMaxGeneralBytes = 1 << 20;

absl::Status CheckSize(const std::string& bytes, size_t limit, const std::string& field) {
  if (bytes.size() <= limit) return absl::OkStatus();
  return InvalidField(field, "is too large");
}

// The adapter's file stays with the suite when the adapter itself is deleted.
absl::StatusOr<AdapterRecord> FindJudge(HandlerContext& context, const Caller& caller,
                                        const std::string& name) {
  WT_ASSIGN_OR_RETURN(const std::string id, ParseOwnId(caller, kAdapters, name, "judge_adapter"));
  WT_ASSIGN_OR_RETURN(const AdapterRecord adapter,
                      Named("adapter", context.store.jobs().GetAdapter(caller.tenant_id, id)));
  if (adapter.gate.state == GateState::kQuarantined) {
    return absl::FailedPreconditionError(
        "judge_adapter: the safety gate has quarantined it; release it first, or train another");
  }
  if (MethodOf(adapter) == v1::Hyperparameters::METHOD_FULL_PARAMETER) {
    return InvalidField("judge_adapter",
                        "is a whole model; a judge is the base model with a LoRA adapter");
  }
  return adapter;
}

}  // namespace

absl::StatusOr<v1::CreateSafetySuiteResponse> CreateSafetySuite(
    HandlerContext& context, const Caller& caller, const v1::CreateSafetySuiteRequest& request) {
  WT_RETURN_IF_ERROR(CheckNewId(request.suite_id(), "suite_id"));
  WT_RETURN_IF_ERROR(CheckRequestId(request.request_id()));
  WT_RETURN_IF_ERROR(CheckSize(request.prompts_jsonl(), kMaxPromptsBytes, "prompts_jsonl"));
  WT_RETURN_IF_ERROR(CheckSize(request.rules_json(), kMaxRulesBytes, "rules_json"));
  WT_RETURN_IF_ERROR(
      CheckSize(request.general_prompts_jsonl(), kMaxGeneralBytes, "general_prompts_jsonl"));
  WT_ASSIGN_OR_RETURN(const auto by_category,
                      CheckPrompts(request.prompts_jsonl(), "prompts_jsonl", PromptDemands()));
  WT_ASSIGN_OR_RETURN(const std::string judge, CheckRules(request.rules_json(), "rules_json"));
  WT_RETURN_IF_ERROR(CheckPrompts(request.general_prompts_jsonl(), "general_prompts_jsonl",
                                  {.category = false, .rule = judge == kRefusalJudge})
                         .status());

  SafetySuiteRecord suite;
  suite.id = request.suite_id();
  WT_ASSIGN_OR_RETURN(suite.prompts, context.blobs.Put(request.prompts_jsonl()));
  WT_ASSIGN_OR_RETURN(suite.rules, context.blobs.Put(request.rules_json()));
  WT_ASSIGN_OR_RETURN(suite.general_prompts, context.blobs.Put(request.general_prompts_jsonl()));
  v1::SafetySuite facts;
  for (const auto& [category, prompts] : by_category) {
    (*facts.mutable_prompts_per_category())[category] = prompts;
  }
  if (!request.judge_adapter().empty()) {
    if (judge != kCausalLmJudge) {
      return InvalidField("judge_adapter",
                          absl::StrCat("is for the judge `", std::string(kCausalLmJudge),
                                       "`, but the rules name `", judge, "`"));
    }
    WT_ASSIGN_OR_RETURN(const AdapterRecord adapter,
                        FindJudge(context, caller, request.judge_adapter()));
    suite.judge = adapter.blob;
    suite.judge_base_model = adapter.base_model;
    suite.judge_base_sha256 = adapter.base_sha256;
    facts.set_judge_adapter(request.judge_adapter());
  }
  suite.facts = facts.SerializeAsString();
  WT_ASSIGN_OR_RETURN(
      const Answer answer,
      context.store.security_vectors().CreateSafetySuite(
          suite, MakeRequestKey(caller, "CreateSafetySuite", request.request_id(), request),
          [](const SafetySuiteRecord& record) {
            v1::CreateSafetySuiteResponse response;
            *response.mutable_suite() = ToMessage(record);
            return response.SerializeAsString();
          }));
  return ParseAnswer<v1::CreateSafetySuiteResponse>(answer);
}

absl::StatusOr<v1::ListSafetySuitesResponse> ListSafetySuites(
    HandlerContext& context, const Caller&, const v1::ListSafetySuitesRequest& request) {
  WT_ASSIGN_OR_RETURN(const auto page,
                      context.store.security_vectors().ListSafetySuites(PageOf(request)));
  v1::ListSafetySuitesResponse response;
  for (const SafetySuiteRecord& suite : page.items) *response.add_suites() = ToMessage(suite);
  response.set_next_page_token(page.next_page_token);
  return response;
}

}  // namespace wardtune
