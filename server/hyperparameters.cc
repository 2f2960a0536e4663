#include "server/hyperparameters.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/rpc/error_details.h"

namespace wardtune {
namespace {

constexpr std::array<const char*, 7> kModules = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                                 "gate_proj", "up_proj", "down_proj"};
constexpr int32_t kDefaultMaxRowTokens = 1024;
constexpr int32_t kMinRowTokens = 16;
constexpr double kMaxAlphaToRank = 4;

// Collects the violations of one message.
class Checker {
 public:
  explicit Checker(std::string prefix) : prefix_(std::move(prefix)) {}

  // 0 becomes `fallback`, or the provider's cap where that is lower; the result must lie in
  // [low, high]. A value that does not is replaced as 0 is, so that fields derived from it are not
  // blamed for it.
  int64_t Integer(const char* field, int64_t value, int64_t fallback, int64_t low, int64_t high) {
    fallback = std::min(fallback, high);
    if (value == 0) value = fallback;
    if (value >= low && value <= high) return value;
    Fail(field, absl::StrCat("must be ", low, " to ", high, ", not ", value));
    return fallback;
  }

  // 0 becomes `fallback`, or the provider's cap where that is lower; the result must lie in
  // (0, high].
  double Positive(const char* field, double value, double fallback, double high) {
    if (value == 0) value = std::min(fallback, high);
    if (!std::isfinite(value) || value <= 0 || value > high) {
      Fail(field, absl::StrCat("must be above 0 and at most ", high, ", not ", value));
    }
    return value;
  }

  // Must lie in [0, high].
  double Share(const char* field, double value, double high) {
    if (!std::isfinite(value) || value < 0 || value > high) {
      Fail(field, absl::StrCat("must be 0 to ", high, ", not ", value));
    }
    return value;
  }

  void Fail(const char* field, std::string description) {
    violations_.push_back({absl::StrCat(prefix_, field), std::move(description)});
  }

  absl::Status status() const {
    return violations_.empty() ? absl::OkStatus() : InvalidFields(violations_);
  }

 private:
  const std::string prefix_;
  std::vector<FieldViolation> violations_;
};

void ResolveModules(const v1::Hyperparameters& requested, v1::Hyperparameters& resolved,
                    Checker& check) {
  if (requested.target_modules_size() > static_cast<int>(kModules.size())) {
    check.Fail("target_modules", absl::StrCat("at most ", kModules.size(), " modules, not ",
                                              requested.target_modules_size()));
    return;
  }
  std::set<std::string> wanted;
  for (int i = 0; i < requested.target_modules_size(); ++i) {
    const std::string& module = requested.target_modules(i);
    const std::string field = absl::StrCat("target_modules[", i, "]");
    if (std::find(kModules.begin(), kModules.end(), module) == kModules.end()) {
      check.Fail(field.c_str(),
                 absl::StrCat("unknown module; choose of ", absl::StrJoin(kModules, ", ")));
    } else if (!wanted.insert(module).second) {
      check.Fail(field.c_str(), "is listed twice");
    }
  }
  resolved.clear_target_modules();
  for (const char* module : kModules) {
    if (wanted.empty() || wanted.contains(module)) resolved.add_target_modules(module);
  }
}

void ResolveLora(const v1::Hyperparameters& requested, const ServerLimits& limits,
                 v1::Hyperparameters& resolved, Checker& check) {
  resolved.set_lora_rank(static_cast<int32_t>(
      check.Integer("lora_rank", requested.lora_rank(), 16, 1, limits.max_lora_rank)));
  // The step is scaled by alpha / rank, so a large ratio is a large learning rate by another name.
  resolved.set_lora_alpha(check.Positive("lora_alpha", requested.lora_alpha(),
                                         2.0 * resolved.lora_rank(),
                                         kMaxAlphaToRank * resolved.lora_rank()));
  ResolveModules(requested, resolved, check);
}

void CheckWithoutLora(const v1::Hyperparameters& requested, Checker& check) {
  const auto leave_out = [&](bool is_set, const char* field) {
    if (is_set) check.Fail(field, "has no meaning with METHOD_FULL_PARAMETER; leave it out");
  };
  leave_out(requested.lora_rank() != 0, "lora_rank");
  leave_out(requested.lora_alpha() != 0, "lora_alpha");
  leave_out(!requested.target_modules().empty(), "target_modules");
}

// Nothing is filled in: zero means what the contract says.
void ResolveValidation(const v1::Hyperparameters& requested, Checker& check) {
  check.Share("validation_fraction", requested.validation_fraction(), 0.5);
  const auto bounded = [&](const char* field, int32_t value, int32_t most) {
    if (value < 0 || value > most) {
      check.Fail(field, absl::StrCat("must be 0 to ", most, ", not ", value));
    }
  };
  bounded("validation_steps", requested.validation_steps(), 100'000);
  bounded("early_stopping_patience", requested.early_stopping_patience(), 1000);
  if (requested.early_stopping_patience() > 0 && requested.validation_fraction() == 0) {
    check.Fail("early_stopping_patience",
               "needs validation_fraction: without held-out rows "
               "there is nothing to measure");
  }
}

}  // namespace

absl::StatusOr<v1::Hyperparameters> ResolveHyperparameters(const v1::Hyperparameters& requested,
                                                           int32_t context_length,
                                                           const ServerLimits& limits) {
  Checker check("hyperparameters.");
  v1::Hyperparameters resolved = requested;
  resolved.set_epochs(
      static_cast<int32_t>(check.Integer("epochs", requested.epochs(), 2, 1, limits.max_epochs)));
  const bool full = requested.method() == v1::Hyperparameters::METHOD_FULL_PARAMETER;
  if (!v1::Hyperparameters::Method_IsValid(requested.method())) {
    check.Fail("method", "is unknown");
  } else if (!full) {
    resolved.set_method(v1::Hyperparameters::METHOD_LORA);
  }
  const double rate_cap = full ? limits.max_full_parameter_learning_rate : limits.max_learning_rate;
  if (full && rate_cap == 0) {
    check.Fail("method", "METHOD_FULL_PARAMETER is not offered here; leave it out to train LoRA");
  } else {
    resolved.set_learning_rate(
        check.Positive("learning_rate", requested.learning_rate(), full ? 3e-5 : 3e-4, rate_cap));
  }
  resolved.set_batch_size(static_cast<int32_t>(
      check.Integer("batch_size", requested.batch_size(), 8, 1, limits.max_batch_size)));
  if (full) {
    CheckWithoutLora(requested, check);
  } else {
    ResolveLora(requested, limits, resolved, check);
  }
  resolved.set_warmup_ratio(check.Share(
      "warmup_ratio", requested.has_warmup_ratio() ? requested.warmup_ratio() : 0.05, 1));
  if (!v1::Hyperparameters::Schedule_IsValid(requested.schedule())) {
    check.Fail("schedule", "is unknown");
  } else if (requested.schedule() == v1::Hyperparameters::SCHEDULE_UNSPECIFIED) {
    resolved.set_schedule(v1::Hyperparameters::SCHEDULE_LINEAR);
  }
  resolved.set_weight_decay(check.Share("weight_decay", requested.weight_decay(), 1));
  resolved.set_max_grad_norm(check.Positive("max_grad_norm", requested.max_grad_norm(), 1, 1e6));
  resolved.set_max_row_tokens(static_cast<int32_t>(check.Integer(
      "max_row_tokens", requested.max_row_tokens(), std::min(kDefaultMaxRowTokens, context_length),
      kMinRowTokens, context_length)));
  ResolveValidation(requested, check);
  if (absl::Status status = check.status(); !status.ok()) return status;
  return resolved;
}

namespace {

constexpr int kMaxGuardRows = 8;
constexpr int kMaxRefusals = 16;
constexpr size_t kMaxRefusalBytes = 512;

void ResolveGuardRows(const v1::SecurityVectorRecipe& requested, v1::SecurityVectorRecipe& resolved,
                      Checker& check) {
  resolved.set_guard_rows(requested.has_guard_rows() ? requested.guard_rows() : 1);
  if (resolved.guard_rows() < 0 || resolved.guard_rows() > kMaxGuardRows) {
    check.Fail("guard_rows",
               absl::StrCat("must be 0 to ", kMaxGuardRows, ", not ", resolved.guard_rows()));
  }
  if (requested.guard_refusals_size() > kMaxRefusals) {
    check.Fail("guard_refusals", absl::StrCat("must be at most ", kMaxRefusals));
  }
  for (const std::string& refusal : requested.guard_refusals()) {
    if (refusal.empty() || refusal.size() > kMaxRefusalBytes) {
      check.Fail("guard_refusals",
                 absl::StrCat("each must be 1 to ", kMaxRefusalBytes, " bytes of text"));
      break;
    }
  }
}

void CheckCategories(const v1::SecurityVectorRecipe& requested, Checker& check) {
  const std::set<std::string> distinct(requested.categories().begin(),
                                       requested.categories().end());
  if (requested.categories_size() > kMaxPartCategories) {
    check.Fail("categories", absl::StrCat("must be at most ", kMaxPartCategories));
  } else if (static_cast<int>(distinct.size()) != requested.categories_size()) {
    check.Fail("categories", "must be distinct");
  }
}

}  // namespace

absl::StatusOr<v1::SecurityVectorRecipe> ResolveRecipe(const v1::SecurityVectorRecipe& requested) {
  Checker check("recipe.");
  v1::SecurityVectorRecipe resolved = requested;
  resolved.set_lora_rank(
      static_cast<int32_t>(check.Integer("lora_rank", requested.lora_rank(), 16, 1, 256)));
  resolved.set_lora_alpha(
      check.Positive("lora_alpha", requested.lora_alpha(), 2.0 * resolved.lora_rank(), 4096));
  resolved.set_learning_rate(check.Positive("learning_rate", requested.learning_rate(), 1e-3, 1));
  resolved.set_epochs(
      static_cast<int32_t>(check.Integer("epochs", requested.epochs(), 8, 1, 1000)));
  resolved.set_batch_size(
      static_cast<int32_t>(check.Integer("batch_size", requested.batch_size(), 8, 1, 1024)));
  resolved.set_kl_weight(
      check.Share("kl_weight", requested.has_kl_weight() ? requested.kl_weight() : 6, 1e6));
  resolved.set_general_batch_size(static_cast<int32_t>(
      check.Integer("general_batch_size", requested.general_batch_size(), 32, 1, 1024)));
  ResolveGuardRows(requested, resolved, check);
  CheckCategories(requested, check);
  if (absl::Status status = check.status(); !status.ok()) return status;
  return resolved;
}

}  // namespace wardtune
