#include "formats/peft_adapter.h"

#include <simdjson.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <set>
#include <span>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "formats/json_text.h"
#include "formats/model_card.h"
#include "formats/safetensors_reader.h"
#include "formats/safetensors_writer.h"

namespace wardtune {
namespace {

constexpr std::string_view kConfigFile = "adapter_config.json";
constexpr std::string_view kWeightsFile = "adapter_model.safetensors";
constexpr std::string_view kCardFile = "README.md";
constexpr std::string_view kPrefix = "base_model.model.";
constexpr std::string_view kASuffix = ".lora_A.weight";
constexpr std::string_view kBSuffix = ".lora_B.weight";
constexpr int64_t kMaxRank = 4096;

absl::Status Bad(std::string_view where, std::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(std::string(where), ": ", std::string(what)));
}

std::string TensorName(std::string_view module, std::string_view suffix) {
  return absl::StrCat(std::string(kPrefix), std::string(module), std::string(suffix));
}

// The last part of a module path, which is what target_modules lists: "q_proj".
std::string_view LastPart(std::string_view module) {
  return module.substr(module.rfind('.') + 1);  // npos + 1 is 0
}

absl::Status CheckAdapter(const PeftAdapter& adapter) {
  if (adapter.modules.empty()) return Bad("adapter", "it has no module");
  if (adapter.rank < 1 || adapter.rank > kMaxRank) {
    return Bad("adapter", absl::StrCat("rank must be 1 to ", kMaxRank));
  }
  if (!std::isfinite(adapter.alpha) || adapter.alpha <= 0) {
    return Bad("adapter", "alpha must be finite and above 0");
  }
  for (const auto& [name, module] : adapter.modules) {
    if (module.in_features < 1 || module.out_features < 1 ||
        module.a.size() != static_cast<size_t>(adapter.rank * module.in_features) ||
        module.b.size() != static_cast<size_t>(module.out_features * adapter.rank)) {
      return Bad(name, "the sizes of A and B do not fit the rank and the layer");
    }
  }
  return absl::OkStatus();
}

// The fields that PEFT needs to rebuild the adapter, sorted as PEFT itself writes them.
std::string ConfigJson(const PeftAdapter& adapter) {
  std::set<std::string> targets;
  for (const auto& [name, module] : adapter.modules) {
    targets.insert(JsonString(LastPart(name)));
  }
  const std::vector<std::pair<std::string_view, std::string>> fields = {
      {"base_model_name_or_path", JsonString(adapter.base_model)},
      {"bias", "\"none\""},
      {"fan_in_fan_out", "false"},
      {"inference_mode", "true"},
      {"init_lora_weights", "true"},
      {"lora_alpha", JsonNumber(adapter.alpha)},
      {"lora_dropout", "0.0"},
      {"modules_to_save", "null"},
      {"peft_type", "\"LORA\""},
      {"r", absl::StrCat(adapter.rank)},
      {"target_modules", absl::StrCat("[", absl::StrJoin(targets, ", "), "]")},
      {"task_type", "\"CAUSAL_LM\""},
      {"use_dora", "false"},
      {"use_rslora", "false"},
  };
  std::vector<std::string> lines;
  for (const auto& [name, value] : fields) {
    lines.push_back(absl::StrCat("  ", JsonString(name), ": ", value));
  }
  return absl::StrCat("{\n", absl::StrJoin(lines, ",\n"), "\n}\n");
}

using simdjson::dom::element;
using simdjson::dom::object;

// False, null, empty, or absent: the feature is not in use.
bool IsOff(object config, std::string_view field) {
  element value;
  if (config[field].get(value) != simdjson::SUCCESS || value.is_null()) return true;
  bool flag = true;
  if (value.get(flag) == simdjson::SUCCESS) return !flag;
  object map;
  if (value.get(map) == simdjson::SUCCESS) return map.size() == 0;
  simdjson::dom::array list;
  if (value.get(list) == simdjson::SUCCESS) return list.size() == 0;
  return false;
}

absl::Status ReadConfig(std::string_view json, PeftAdapter& adapter) {
  simdjson::dom::parser parser;
  object config;
  if (const auto error = parser.parse(simdjson::padded_string(json)).get(config)) {
    return Bad(kConfigFile, simdjson::error_message(error));
  }
  std::set<std::string_view> keys;
  for (auto [key, value] : config) {
    if (!keys.insert(key).second) return Bad(kConfigFile, "a field stands twice");
  }
  std::string_view text;
  if (config["peft_type"].get(text) != simdjson::SUCCESS || text != "LORA") {
    return Bad(kConfigFile, "peft_type must be \"LORA\"");
  }
  if (config["bias"].get(text) == simdjson::SUCCESS && text != "none") {
    return Bad(kConfigFile, "bias must be \"none\"");
  }
  for (const char* field :
       {"use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "modules_to_save",
        "fan_in_fan_out", "trainable_token_indices", "lora_bias", "layer_replication"}) {
    if (!IsOff(config, field)) return Bad(kConfigFile, absl::StrCat(field, " is not supported"));
  }
  if (config["r"].get(adapter.rank) != simdjson::SUCCESS) {
    return Bad(kConfigFile, "r must be an integer");
  }
  if (config["lora_alpha"].get(adapter.alpha) != simdjson::SUCCESS) {
    return Bad(kConfigFile, "lora_alpha must be a number");
  }
  if (config["base_model_name_or_path"].get(text) == simdjson::SUCCESS) {
    adapter.base_model = std::string(text);
  }
  return absl::OkStatus();
}

float HalfToFloat(uint16_t half) {
  const uint32_t sign = (half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 0x1F;
  const uint32_t fraction = half & 0x3FF;
  if (exponent == 0x1F) return std::bit_cast<float>(sign | 0x7F800000u | (fraction << 13));
  if (exponent != 0) {
    return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (fraction << 13));
  }
  const float subnormal = std::ldexp(static_cast<float>(fraction), -24);
  return sign != 0 ? -subnormal : subnormal;
}

absl::StatusOr<std::vector<float>> ToFloats(const std::string& name, const TensorView& tensor) {
  if (!AllFinite(tensor.dtype, tensor.data)) return Bad(name, "it holds NaN or infinity");
  const size_t count = tensor.data.size() / DTypeSize(tensor.dtype);
  std::vector<float> values(count);
  if (tensor.dtype == TensorDType::kF32) {
    std::memcpy(values.data(), tensor.data.data(), tensor.data.size());
    return values;
  }
  if (tensor.dtype != TensorDType::kF16 && tensor.dtype != TensorDType::kBF16) {
    return Bad(name, "the dtype must be F32, F16 or BF16");
  }
  for (size_t i = 0; i < count; ++i) {
    uint16_t word = 0;
    std::memcpy(&word, tensor.data.data() + 2 * i, sizeof(word));
    values[i] = tensor.dtype == TensorDType::kF16
                    ? HalfToFloat(word)
                    : std::bit_cast<float>(static_cast<uint32_t>(word) << 16);
  }
  return values;
}

absl::Status ReadTensors(const SafetensorsContent& content, PeftAdapter& adapter) {
  for (const auto& [name, tensor] : content.tensors) {
    std::string_view module = name;
    const bool is_a = module.ends_with(kASuffix);
    if (!module.starts_with(kPrefix) || (!is_a && !module.ends_with(kBSuffix)) ||
        module.size() <= kPrefix.size() + kASuffix.size()) {
      return Bad(name, "the name is not base_model.model.<module>.lora_{A,B}.weight");
    }
    module.remove_prefix(kPrefix.size());
    module.remove_suffix(kASuffix.size());
    if (tensor.shape.size() != 2 || tensor.shape[is_a ? 0 : 1] != adapter.rank) {
      return Bad(name, absl::StrCat("the shape does not fit rank ", adapter.rank));
    }
    LoraModule& factors = adapter.modules[std::string(module)];
    WT_ASSIGN_OR_RETURN(auto values, ToFloats(name, tensor));
    (is_a ? factors.in_features : factors.out_features) = tensor.shape[is_a ? 1 : 0];
    (is_a ? factors.a : factors.b) = std::move(values);
  }
  return absl::OkStatus();
}

std::string CardOf(const PeftAdapter& adapter, ModelCard card) {
  if (card.title.empty()) card.title = "LoRA adapter";
  card.facts.insert(card.facts.begin(),
                    {{"Rank", absl::StrCat(adapter.rank)}, {"Alpha", JsonNumber(adapter.alpha)}});
  return RenderModelCard(adapter.base_model, "peft", "lora", card);
}

}  // namespace

absl::StatusOr<FileSet> BuildPeftAdapter(const PeftAdapter& adapter, const ModelCard& card) {
  WT_RETURN_IF_ERROR(CheckAdapter(adapter));
  std::vector<NamedTensor> tensors;
  for (const auto& [name, module] : adapter.modules) {
    tensors.push_back({TensorName(name, kASuffix),
                       TensorDType::kF32,
                       {adapter.rank, module.in_features},
                       std::as_bytes(std::span(module.a))});
    tensors.push_back({TensorName(name, kBSuffix),
                       TensorDType::kF32,
                       {module.out_features, adapter.rank},
                       std::as_bytes(std::span(module.b))});
  }
  SafetensorsWriteOptions options;
  options.metadata = {{"format", "pt"}};  // PEFT refuses a file without it
  options.require_finite = true;
  FileSet set;
  WT_ASSIGN_OR_RETURN(set[std::string(kWeightsFile)],
                      SerializeSafetensors(std::move(tensors), options));
  set[std::string(kConfigFile)] = ConfigJson(adapter);
  set[std::string(kCardFile)] = CardOf(adapter, card);
  return set;
}

absl::StatusOr<PeftAdapter> ParsePeftAdapter(const FileSet& files) {
  const auto config = files.find(kConfigFile);
  const auto weights = files.find(kWeightsFile);
  if (config == files.end()) return Bad(kConfigFile, "the adapter lacks this file");
  if (weights == files.end()) return Bad(kWeightsFile, "the adapter lacks this file");
  PeftAdapter adapter;
  WT_RETURN_IF_ERROR(ReadConfig(config->second, adapter));
  // A copy on the heap, as views must start on an 8-byte boundary.
  const std::vector<char> bytes(weights->second.begin(), weights->second.end());
  WT_ASSIGN_OR_RETURN(const SafetensorsContent content,
                      ParseSafetensors(std::as_bytes(std::span(bytes))));
  WT_RETURN_IF_ERROR(ReadTensors(content, adapter));
  WT_RETURN_IF_ERROR(CheckAdapter(adapter));
  return adapter;
}

absl::Status WriteFileSet(const FileSet& set, FileSystem& files, const std::string& folder) {
  WT_RETURN_IF_ERROR(files.CreateFolders(folder));
  for (const auto& [name, bytes] : set) {
    WT_RETURN_IF_ERROR(files.WriteFileAtomically(folder + "/" + name, bytes));
  }
  return absl::OkStatus();
}

}  // namespace wardtune
