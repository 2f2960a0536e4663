#include "server/audit_scheduler.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "server/handlers/resource_messages.h"

namespace wardtune {
namespace {

struct Suite {
  std::string id;
  std::string judge_base_model;   // empty: it judges any
  std::string judge_base_sha256;  // the files that it judges on; empty: any
  std::set<std::string> categories;
};

// Newest first.
absl::StatusOr<std::vector<Suite>> ListSuites(SecurityVectorStore& store) {
  WT_ASSIGN_OR_RETURN(const auto records, AllItems<SafetySuiteRecord>([&](const PageRequest& page) {
                        return store.ListSafetySuites(page);
                      }));
  std::vector<Suite> suites;
  for (const SafetySuiteRecord& record : records) {
    Suite& suite = suites.emplace_back(
        Suite{record.id, record.judge_base_model, record.judge_base_sha256, {}});
    const v1::SafetySuite message = ToMessage(record);
    for (const auto& [category, prompts] : message.prompts_per_category()) {
      suite.categories.insert(category);
    }
  }
  return suites;
}

// Digests of the base models by id.
absl::StatusOr<std::map<std::string, std::string>> ListModels(ModelStore& store) {
  WT_ASSIGN_OR_RETURN(const auto records, AllItems<BaseModelRecord>([&](const PageRequest& page) {
                        return store.ListBaseModels(page);
                      }));
  std::map<std::string, std::string> models;
  for (const BaseModelRecord& model : records) models[model.id] = model.sha256;
  return models;
}

bool CanJudge(const Suite& suite, const std::string& base_model,
              const std::map<std::string, std::string>& models) {
  if (suite.judge_base_model.empty()) return true;
  const auto model = models.find(base_model);
  return suite.judge_base_model == base_model && model != models.end() &&
         (suite.judge_base_sha256.empty() || suite.judge_base_sha256 == model->second);
}

}  // namespace

absl::StatusOr<NewestSuite> LoadNewestSuites(MetadataStore& store) {
  WT_ASSIGN_OR_RETURN(std::vector<Suite> suites, ListSuites(store.security_vectors()));
  WT_ASSIGN_OR_RETURN(auto models, ListModels(store.models()));
  return [suites = std::move(suites), models = std::move(models)](const std::string& base_model,
                                                                  const std::string& last) {
    const auto before = std::find_if(suites.begin(), suites.end(),
                                     [&](const Suite& suite) { return suite.id == last; });
    if (before == suites.end()) return last;
    const auto newest = std::find_if(suites.begin(), before, [&](const Suite& suite) {
      return CanJudge(suite, base_model, models) &&
             std::includes(suite.categories.begin(), suite.categories.end(),
                           before->categories.begin(), before->categories.end());
    });
    return newest->id;
  };
}

absl::Status ScheduleAudits(MetadataStore& store, const AuditPlan& plan, StructuredLog& log) {
  if (plan.interval <= absl::ZeroDuration()) return absl::OkStatus();
  WT_ASSIGN_OR_RETURN(const NewestSuite newest, LoadNewestSuites(store));
  WT_ASSIGN_OR_RETURN(const std::vector<JobRecord> queued,
                      store.audits().QueueDueAudits(plan, newest));
  for (const JobRecord& job : queued) {
    log.Write("adapter_audit_queued",
              {{"audit", job.id}, {"adapter", job.audited_adapter}, {"suite", job.safety_suite}});
  }
  return absl::OkStatus();
}

}  // namespace wardtune
