#include "worker/agent/adapter_export.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "formats/tar_archive.h"
#include "worker/agent/training_settings.h"

namespace wardtune {
namespace {

std::string ModuleName(size_t layer, Projection projection) {
  return absl::StrCat("model.layers.", layer, ".", ModuleName(projection));
}

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

}  // namespace

PeftAdapter ToPeftAdapter(const LoraAdapter& adapter, const std::string& base_model) {
  PeftAdapter peft;
  peft.base_model = base_model;
  peft.rank = adapter.spec.rank;
  peft.alpha = adapter.spec.alpha;
  for (size_t l = 0; l < adapter.layers.size(); ++l) {
    for (const Projection projection : kAllProjections) {
      const LoraMatrices& m = adapter.at(static_cast<int64_t>(l), projection);
      if (m.empty()) continue;
      peft.modules[ModuleName(l, projection)] = {
          .in_features = static_cast<int64_t>(m.a.size()) / peft.rank,
          .out_features = static_cast<int64_t>(m.b.size()) / peft.rank,
          .a = m.a,
          .b = m.b};
    }
  }
  return peft;
}

absl::StatusOr<LoraAdapter> FromPeftAdapter(const PeftAdapter& peft, const ModelConfig& config) {
  LoraAdapter adapter;
  adapter.spec = {.rank = peft.rank, .alpha = peft.alpha, .targets = {}};
  adapter.layers.resize(config.num_layers);
  size_t used = 0;
  for (const Projection projection : kAllProjections) {
    if (!peft.modules.contains(ModuleName(0, projection))) continue;
    adapter.spec.targets.push_back(projection);
    const ProjectionShape shape = ShapeOf(config, projection);
    for (int64_t l = 0; l < config.num_layers; ++l) {
      const std::string name = ModuleName(l, projection);
      const auto found = peft.modules.find(name);
      if (found == peft.modules.end() || found->second.in_features != shape.in ||
          found->second.out_features != shape.out) {
        return absl::InvalidArgumentError(
            absl::StrCat("adapter: module ", name, " is missing or of another shape"));
      }
      adapter.at(l, projection) = {.a = found->second.a, .b = found->second.b};
      ++used;
    }
  }
  if (used != peft.modules.size()) {
    return absl::InvalidArgumentError("adapter: it adapts modules that this model has not");
  }
  WT_RETURN_IF_ERROR(ValidateLoraSpec(adapter.spec, config));
  return adapter;
}

absl::StatusOr<LoraAdapter> LoadPeftFolder(FileSystem& files, const std::string& folder,
                                           const ModelConfig& config) {
  WT_ASSIGN_OR_RETURN(const std::vector<std::string> names, files.List(folder));
  FileSet set;
  for (const std::string& name : names) {
    WT_ASSIGN_OR_RETURN(set[name], files.ReadFile(absl::StrCat(folder, "/", name)));
  }
  WT_ASSIGN_OR_RETURN(const PeftAdapter peft, ParsePeftAdapter(set));
  return FromPeftAdapter(peft, config);
}

absl::StatusOr<LoraAdapter> ParseAdapterTar(std::string_view tar, const ModelConfig& config) {
  WT_ASSIGN_OR_RETURN(const FileSet files, ReadTar(tar));
  WT_ASSIGN_OR_RETURN(const PeftAdapter peft, ParsePeftAdapter(files));
  return FromPeftAdapter(peft, config);
}

ModelCard ResultCard(const AdapterFacts& facts) {
  const v1::Hyperparameters& p = facts.hyperparameters;
  ModelCard card;
  const bool full = IsFullParameter(p);
  card.title = absl::StrCat(full ? "Fine-tuned " : "LoRA adapter for ",
                            std::string(absl::StripPrefix(facts.base_model, "baseModels/")));
  card.facts = {{"Base model digest", facts.proof.base_sha256()},
                {"Data set digest", facts.dataset_sha256},
                {"Optimizer steps", absl::StrCat(facts.progress.step())},
                {"Epochs", absl::StrCat(p.epochs())},
                {"Learning rate", absl::StrCat(p.learning_rate())},
                {"Rows per step", absl::StrCat(p.batch_size())}};
  if (full) {
    card.facts.push_back({"Trained", "the weights of all projections"});
  } else {
    card.facts.push_back({"LoRA rank", absl::StrCat(p.lora_rank())});
    card.facts.push_back({"LoRA alpha", absl::StrCat(p.lora_alpha())});
    card.facts.push_back({"Target modules", absl::StrJoin(p.target_modules(), ", ")});
  }
  const std::vector<std::pair<std::string, std::string>> protection = {
      {"Seed", absl::StrCat(p.seed())},
      {"Security vector", facts.proof.security_vector_version()},
      {"Security vector digest", facts.proof.security_vector_sha256()},
      {"Guard rows digest",
       facts.proof.guard_rows_sha256().empty() ? "none" : facts.proof.guard_rows_sha256()},
      {"Rows scanned by the vector", absl::StrCat(facts.proof.rows_scanned())},
      {"Rows left out by the scan", absl::StrCat(facts.proof.rows_dropped())},
      {"Largest cosine to the vector", absl::StrCat(facts.proof.strip_max_cosine())},
      {full ? "Weights digest" : "Adapter digest", facts.proof.adapter_sha256()},
      {"Jobs that made it, one after the other", absl::StrCat(facts.proof.chain_length())}};
  card.facts.insert(card.facts.end(), protection.begin(), protection.end());
  if (!facts.proof.start_adapter().empty()) {
    card.facts.push_back({"Start adapter", facts.proof.start_adapter()});
    card.facts.push_back({"Start adapter digest", facts.proof.start_adapter_sha256()});
  }
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

absl::StatusOr<std::string> ExportAdapter(const LoraAdapter& adapter, const AdapterFacts& facts) {
  const std::string base(absl::StripPrefix(facts.base_model, "baseModels/"));
  WT_ASSIGN_OR_RETURN(const FileSet files,
                      BuildPeftAdapter(ToPeftAdapter(adapter, base), ResultCard(facts)));
  return WriteTar(files);
}

}  // namespace wardtune
