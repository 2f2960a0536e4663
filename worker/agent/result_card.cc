#include "worker/agent/result_card.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "worker/agent/training_settings.h"

namespace wardtune {
namespace {

using Facts = std::vector<std::pair<std::string, std::string>>;

void AddScores(const SafetyResult& result, const std::string& stage, ModelCard& card) {
  for (const CategoryResult& category : result.categories) {
    card.safety_scores.push_back({.category = category.category,
                                  .stage = stage,
                                  .prompts = category.prompts,
                                  .harmful = category.harmful,
                                  .wilson_low = category.wilson_low,
                                  .wilson_high = category.wilson_high});
  }
}

void AddTraining(const ResultFacts& facts, Facts& to) {
  const v1::Hyperparameters& p = facts.hyperparameters;
  to.insert(to.end(), {{"Base model digest", facts.proof.base_sha256()},
                       {"Data set digest", facts.dataset_sha256},
                       {"Optimizer steps", absl::StrCat(facts.progress.step())},
                       {"Epochs", absl::StrCat(p.epochs())},
                       {"Learning rate", absl::StrCat(p.learning_rate())},
                       {"Rows per step", absl::StrCat(p.batch_size())}});
  if (IsFullParameter(p)) {
    to.push_back({"Trained", "the weights of all projections"});
  } else {
    to.insert(to.end(), {{"LoRA rank", absl::StrCat(p.lora_rank())},
                         {"LoRA alpha", absl::StrCat(p.lora_alpha())},
                         {"Target modules", absl::StrJoin(p.target_modules(), ", ")}});
  }
  to.push_back({"Seed", absl::StrCat(p.seed())});
}

void AddProtection(const ResultFacts& facts, Facts& to) {
  const v1::ProtectionProof& proof = facts.proof;
  const bool full = IsFullParameter(facts.hyperparameters);
  to.insert(to.end(),
            {{"Security vector", proof.security_vector_version()},
             {"Security vector digest", proof.security_vector_sha256()},
             {"Guard rows digest",
              proof.guard_rows_sha256().empty() ? "none" : proof.guard_rows_sha256()},
             {"Rows scanned by the vector", absl::StrCat(proof.rows_scanned())},
             {"Rows left out by the scan", absl::StrCat(proof.rows_dropped())},
             {"Largest cosine to the vector", absl::StrCat(proof.strip_max_cosine())},
             {full ? "Weights digest" : "Adapter digest", proof.adapter_sha256()},
             {"Jobs that made it, one after the other", absl::StrCat(proof.chain_length())}});
  if (proof.start_adapter().empty()) return;
  to.push_back({"Start adapter", proof.start_adapter()});
  to.push_back({"Start adapter digest", proof.start_adapter_sha256()});
}

}  // namespace

ModelCard ResultCard(const ResultFacts& facts) {
  const bool full = IsFullParameter(facts.hyperparameters);
  ModelCard card;
  card.title = absl::StrCat(full ? "Fine-tuned " : "LoRA adapter for ",
                            std::string(absl::StripPrefix(facts.base_model, "baseModels/")));
  AddTraining(facts, card.facts);
  AddProtection(facts, card.facts);
  if (facts.progress.has_best_validation_loss()) {
    card.facts.push_back({"Delivered step", absl::StrCat(facts.progress.best_step())});
    card.facts.push_back(
        {"Loss on held-out rows", absl::StrCat(facts.progress.best_validation_loss())});
  }
  AddScores(facts.before, "base", card);
  if (facts.start) AddScores(*facts.start, "start adapter", card);
  AddScores(facts.after, full ? "result" : "adapter", card);
  card.suite_digest = facts.after.suite_sha256;
  card.judge_digest = facts.after.judge_sha256;
  return card;
}

}  // namespace wardtune
