#include "worker/agent/adapter_export.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "formats/tar_archive.h"

namespace wardtune {
namespace {

std::string ModuleName(size_t layer, Projection projection) {
  return absl::StrCat("model.layers.", layer, ".", ModuleName(projection));
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

absl::StatusOr<std::string> ExportAdapter(const LoraAdapter& adapter, const ResultFacts& facts) {
  const std::string base(absl::StripPrefix(facts.base_model, "baseModels/"));
  WT_ASSIGN_OR_RETURN(const FileSet files,
                      BuildPeftAdapter(ToPeftAdapter(adapter, base), ResultCard(facts)));
  return WriteTar(files);
}

}  // namespace wardtune
