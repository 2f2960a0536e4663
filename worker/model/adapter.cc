#include "worker/model/adapter.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "formats/safetensors_reader.h"
#include "formats/safetensors_writer.h"
#include "worker/model/seeded_random.h"

namespace wardtune {
namespace {

constexpr const char* kNames[kProjectionCount] = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                                  "gate_proj", "up_proj", "down_proj"};
constexpr int64_t kMaxRank = 512;

std::string TensorName(int64_t layer, Projection projection, std::string_view factor) {
  const bool mlp = projection == Projection::kGate || projection == Projection::kUp ||
                   projection == Projection::kDown;
  return absl::StrCat("base_model.model.model.layers.", layer, mlp ? ".mlp." : ".self_attn.",
                      std::string(ProjectionName(projection)), ".lora_", std::string(factor),
                      ".weight");
}

std::span<const std::byte> BytesOf(const std::vector<float>& values) {
  return std::as_bytes(std::span<const float>(values));
}

std::string AlphaText(double alpha) {
  return absl::StrCat(absl::Hex(std::bit_cast<uint64_t>(alpha), absl::kZeroPad16));
}

absl::StatusOr<std::string> Metadata(const SafetensorsContent& content, const std::string& key) {
  const auto found = content.metadata.find(key);
  if (found == content.metadata.end()) {
    return absl::InvalidArgumentError(absl::StrCat("adapter: metadata '", key, "' is missing"));
  }
  return found->second;
}

absl::StatusOr<LoraSpec> ParseSpec(const SafetensorsContent& content) {
  LoraSpec spec;
  WT_ASSIGN_OR_RETURN(const std::string rank, Metadata(content, "rank"));
  WT_ASSIGN_OR_RETURN(const std::string alpha, Metadata(content, "alpha_bits"));
  WT_ASSIGN_OR_RETURN(const std::string targets, Metadata(content, "targets"));
  uint64_t bits = 0;
  if (!absl::SimpleAtoi(rank, &spec.rank) || !absl::SimpleHexAtoi(alpha, &bits)) {
    return absl::InvalidArgumentError("adapter: metadata 'rank' or 'alpha_bits' is no number");
  }
  spec.alpha = std::bit_cast<double>(bits);
  spec.targets.clear();
  for (const auto name : absl::StrSplit(targets, ',')) {
    WT_ASSIGN_OR_RETURN(Projection projection,
                        ParseProjection(std::string_view(name.data(), name.size())));
    spec.targets.push_back(projection);
  }
  return spec;
}

absl::Status ReadTensor(const SafetensorsContent& content, const std::string& name, int64_t rows,
                        int64_t cols, std::vector<float>& to) {
  const auto found = content.tensors.find(name);
  if (found == content.tensors.end()) {
    return absl::InvalidArgumentError(absl::StrCat("adapter: tensor ", name, " is missing"));
  }
  const TensorView& view = found->second;
  if (view.dtype != TensorDType::kF32 || view.shape != std::vector<int64_t>{rows, cols}) {
    return absl::InvalidArgumentError(
        absl::StrCat("adapter: tensor ", name, " must be F32 [", rows, ", ", cols, "]"));
  }
  if (!AllFinite(view.dtype, view.data)) {
    return absl::InvalidArgumentError(
        absl::StrCat("adapter: tensor ", name, " holds a value that is not finite"));
  }
  to.resize(rows * cols);
  std::memcpy(to.data(), view.data.data(), view.data.size());
  return absl::OkStatus();
}

}  // namespace

std::string_view ProjectionName(Projection projection) {
  return kNames[static_cast<int>(projection)];
}

std::string ModuleName(Projection projection) {
  const bool mlp = projection == Projection::kGate || projection == Projection::kUp ||
                   projection == Projection::kDown;
  return absl::StrCat(mlp ? "mlp." : "self_attn.", std::string(ProjectionName(projection)));
}

absl::StatusOr<Projection> ParseProjection(std::string_view name) {
  for (Projection projection : kAllProjections) {
    if (name == ProjectionName(projection)) return projection;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown projection '", std::string(name),
                   "'; known are q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj"));
}

ProjectionShape ShapeOf(const ModelConfig& config, Projection projection) {
  switch (projection) {
    case Projection::kQ:
      return {config.query_size(), config.hidden_size};
    case Projection::kK:
    case Projection::kV:
      return {config.kv_size(), config.hidden_size};
    case Projection::kO:
      return {config.hidden_size, config.query_size()};
    case Projection::kGate:
    case Projection::kUp:
      return {config.intermediate_size, config.hidden_size};
    case Projection::kDown:
      return {config.hidden_size, config.intermediate_size};
  }
  return {};
}

absl::Status ValidateLoraSpec(const LoraSpec& spec, const ModelConfig& config) {
  if (spec.targets.empty()) return absl::InvalidArgumentError("lora.targets: must not be empty");
  if (std::set<Projection>(spec.targets.begin(), spec.targets.end()).size() !=
      spec.targets.size()) {
    return absl::InvalidArgumentError("lora.targets: a projection is named twice");
  }
  int64_t limit = kMaxRank;
  for (Projection projection : spec.targets) {
    const ProjectionShape shape = ShapeOf(config, projection);
    limit = std::min({limit, shape.in, shape.out});
  }
  if (spec.rank < 1 || spec.rank > limit) {
    return absl::InvalidArgumentError(
        absl::StrCat("lora.rank: must be in 1..", limit, " for this model, is ", spec.rank));
  }
  if (!std::isfinite(spec.alpha) || spec.alpha <= 0.0) {
    return absl::InvalidArgumentError("lora.alpha: must be a finite number above 0");
  }
  return absl::OkStatus();
}

int64_t LoraAdapter::parameter_count() const {
  int64_t count = 0;
  for (const auto& layer : layers) {
    for (const LoraMatrices& m : layer) count += static_cast<int64_t>(m.a.size() + m.b.size());
  }
  return count;
}

absl::StatusOr<LoraAdapter> InitLora(const ModelConfig& config, const LoraSpec& spec,
                                     uint64_t seed) {
  WT_RETURN_IF_ERROR(ValidateLoraSpec(spec, config));
  LoraAdapter adapter;
  adapter.spec = spec;
  std::sort(adapter.spec.targets.begin(), adapter.spec.targets.end());
  adapter.layers.resize(config.num_layers);
  SplitMix64 random(seed);
  for (auto& layer : adapter.layers) {
    for (Projection projection : adapter.spec.targets) {
      const ProjectionShape shape = ShapeOf(config, projection);
      const float bound = 1.0f / std::sqrt(static_cast<float>(shape.in));
      LoraMatrices& m = layer[static_cast<int>(projection)];
      m.a.resize(spec.rank * shape.in);
      for (float& value : m.a) value = random.NextSymmetric() * bound;
      m.b.assign(shape.out * spec.rank, 0.0f);
    }
  }
  return adapter;
}

std::vector<AdapterTensor> AdapterTensors(const LoraAdapter& adapter) {
  std::vector<AdapterTensor> tensors;
  const int64_t rank = adapter.spec.rank;
  for (size_t l = 0; l < adapter.layers.size(); ++l) {
    for (Projection projection : kAllProjections) {
      const LoraMatrices& m = adapter.at(l, projection);
      if (m.empty()) continue;
      tensors.push_back(
          {TensorName(l, projection, "A"), rank, static_cast<int64_t>(m.a.size()) / rank, &m.a});
      tensors.push_back(
          {TensorName(l, projection, "B"), static_cast<int64_t>(m.b.size()) / rank, rank, &m.b});
    }
  }
  return tensors;
}

absl::StatusOr<std::string> SerializeAdapter(const LoraAdapter& adapter) {
  std::vector<NamedTensor> tensors;
  for (const AdapterTensor& tensor : AdapterTensors(adapter)) {
    tensors.push_back(
        {tensor.name, TensorDType::kF32, {tensor.rows, tensor.cols}, BytesOf(*tensor.values)});
  }
  std::vector<std::string> targets;
  for (Projection projection : adapter.spec.targets) {
    targets.emplace_back(ProjectionName(projection));
  }
  SafetensorsWriteOptions options;
  options.metadata = {{"rank", absl::StrCat(adapter.spec.rank)},
                      {"alpha_bits", AlphaText(adapter.spec.alpha)},
                      {"targets", absl::StrJoin(targets, ",")}};
  options.require_finite = true;
  return SerializeSafetensors(std::move(tensors), options);
}

absl::StatusOr<LoraAdapter> ParseAdapter(const ModelConfig& config, std::string_view bytes) {
  WT_ASSIGN_OR_RETURN(const SafetensorsCopy content, CopySafetensors(bytes));
  LoraAdapter adapter;
  WT_ASSIGN_OR_RETURN(adapter.spec, ParseSpec(content));
  WT_RETURN_IF_ERROR(ValidateLoraSpec(adapter.spec, config));
  adapter.layers.resize(config.num_layers);
  for (int64_t l = 0; l < config.num_layers; ++l) {
    for (Projection projection : adapter.spec.targets) {
      const ProjectionShape shape = ShapeOf(config, projection);
      LoraMatrices& m = adapter.at(l, projection);
      WT_RETURN_IF_ERROR(
          ReadTensor(content, TensorName(l, projection, "A"), adapter.spec.rank, shape.in, m.a));
      WT_RETURN_IF_ERROR(
          ReadTensor(content, TensorName(l, projection, "B"), shape.out, adapter.spec.rank, m.b));
    }
  }
  if (content.tensors.size() != AdapterTensors(adapter).size()) {
    return absl::InvalidArgumentError("adapter: holds tensors that its metadata does not name");
  }
  return adapter;
}

std::string AdapterDigest(const LoraAdapter& adapter) {
  Sha256 hash;
  hash.Update(absl::StrCat("lora ", adapter.spec.rank, " ", AlphaText(adapter.spec.alpha), "\n"));
  for (const AdapterTensor& tensor : AdapterTensors(adapter)) {
    hash.Update(absl::StrCat(tensor.name, " ", tensor.rows, " ", tensor.cols, "\n"));
    hash.Update(tensor.values->data(), tensor.values->size() * sizeof(float));
  }
  return hash.HexDigest();
}

}  // namespace wardtune
