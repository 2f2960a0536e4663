#include "worker/agent/training_settings.h"

#include <string>

#include "base/status_macros.h"

namespace wardtune {
namespace {

LrDecay ToDecay(v1::Hyperparameters::Schedule schedule) {
  switch (schedule) {
    case v1::Hyperparameters::SCHEDULE_COSINE:
      return LrDecay::kCosine;
    case v1::Hyperparameters::SCHEDULE_CONSTANT:
      return LrDecay::kConstant;
    default:
      return LrDecay::kLinear;
  }
}

void SetLoraDefaults(v1::Hyperparameters& p) {
  if (p.lora_rank() == 0) p.set_lora_rank(16);
  if (p.lora_alpha() == 0.0) p.set_lora_alpha(2.0 * p.lora_rank());
  if (!p.target_modules().empty()) return;
  for (const Projection projection : kAllProjections) {
    p.add_target_modules(std::string(ProjectionName(projection)));
  }
}

}  // namespace

bool IsFullParameter(const v1::Hyperparameters& p) {
  return p.method() == v1::Hyperparameters::METHOD_FULL_PARAMETER;
}

v1::Hyperparameters WithDefaults(v1::Hyperparameters p) {
  if (p.epochs() == 0) p.set_epochs(2);
  if (p.learning_rate() == 0.0) p.set_learning_rate(IsFullParameter(p) ? 3e-5 : 3e-4);
  if (p.batch_size() == 0) p.set_batch_size(8);
  if (!IsFullParameter(p)) SetLoraDefaults(p);
  if (!p.has_warmup_ratio()) p.set_warmup_ratio(0.05);
  if (p.schedule() == v1::Hyperparameters::SCHEDULE_UNSPECIFIED) {
    p.set_schedule(v1::Hyperparameters::SCHEDULE_LINEAR);
  }
  if (p.max_grad_norm() == 0.0) p.set_max_grad_norm(1.0);
  if (p.max_row_tokens() == 0) p.set_max_row_tokens(1024);
  return p;
}

absl::StatusOr<TrainerOptions> ToTrainerOptions(const v1::Hyperparameters& p) {
  TrainerOptions options;
  if (!IsFullParameter(p)) {
    options.lora = {.rank = p.lora_rank(), .alpha = p.lora_alpha(), .targets = {}};
    for (const std::string& name : p.target_modules()) {
      WT_ASSIGN_OR_RETURN(const Projection projection, ParseProjection(name));
      options.lora.targets.push_back(projection);
    }
  }
  options.epochs = p.epochs();
  options.schedule.peak = p.learning_rate();
  options.schedule.decay = ToDecay(p.schedule());
  options.schedule.warmup_ratio = p.warmup_ratio();
  options.weight_decay = p.weight_decay();
  options.max_grad_norm = p.max_grad_norm();
  options.max_row_tokens = p.max_row_tokens();
  options.seed = static_cast<uint64_t>(p.seed());
  options.validation.every_steps = p.validation_steps();
  options.validation.patience = p.early_stopping_patience();
  return options;
}

VectorRecipe ToVectorRecipe(const v1::SecurityVectorRecipe& recipe) {
  VectorRecipe result;
  if (recipe.lora_rank() > 0) result.lora.rank = recipe.lora_rank();
  result.lora.alpha =
      recipe.lora_alpha() > 0.0 ? recipe.lora_alpha() : 2.0 * static_cast<double>(result.lora.rank);
  if (recipe.learning_rate() > 0.0) result.learning_rate = recipe.learning_rate();
  if (recipe.epochs() > 0) result.epochs = recipe.epochs();
  if (recipe.batch_size() > 0) result.batch_size = recipe.batch_size();
  if (recipe.general_batch_size() > 0) result.general_batch_size = recipe.general_batch_size();
  if (recipe.has_kl_weight()) result.kl_weight = recipe.kl_weight();
  result.seed = static_cast<uint64_t>(recipe.seed());
  if (recipe.has_guard_rows()) result.guard_rows = recipe.guard_rows();
  result.guard_refusals.assign(recipe.guard_refusals().begin(), recipe.guard_refusals().end());
  result.added_to = recipe.added_to();
  result.categories.assign(recipe.categories().begin(), recipe.categories().end());
  return result;
}

}  // namespace wardtune
