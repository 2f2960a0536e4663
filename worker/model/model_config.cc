#include "worker/model/model_config.h"

#include <cmath>
#include <limits>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "simdjson.h"

namespace wardtune {
namespace {

using simdjson::dom::element;

absl::Status Bad(std::string_view field, std::string_view reason) {
  return absl::InvalidArgumentError(
      absl::StrCat("config.json: ", std::string(field), " ", std::string(reason)));
}

// Typed access to one JSON object; JSON null counts as absent, as in transformers.
class Fields {
 public:
  explicit Fields(element object) : object_(object) {}

  std::optional<element> Find(std::string_view key) const {
    element value;
    if (object_[key].get(value) != simdjson::SUCCESS || value.is_null()) return std::nullopt;
    return value;
  }

  absl::StatusOr<int64_t> Int(std::string_view key, std::optional<int64_t> fallback, int64_t low,
                              int64_t high) const {
    const auto value = Find(key);
    int64_t number = 0;
    if (!value) {
      if (!fallback) return Bad(key, "is missing");
      return *fallback;
    }
    if (value->get(number) != simdjson::SUCCESS) return Bad(key, "must be an integer");
    if (number < low || number > high) {
      return Bad(key, absl::StrCat("must be in ", low, "..", high, ", is ", number));
    }
    return number;
  }

  absl::StatusOr<double> Number(std::string_view key, std::optional<double> fallback) const {
    const auto value = Find(key);
    double number = 0;
    if (!value) {
      if (!fallback) return Bad(key, "is missing");
      return *fallback;
    }
    if (value->get(number) != simdjson::SUCCESS || !std::isfinite(number) || number <= 0) {
      return Bad(key, "must be a positive number");
    }
    return number;
  }

  absl::StatusOr<bool> Bool(std::string_view key, bool fallback) const {
    const auto value = Find(key);
    bool flag = false;
    if (!value) return fallback;
    if (value->get(flag) != simdjson::SUCCESS) return Bad(key, "must be true or false");
    return flag;
  }

  absl::StatusOr<std::string> String(std::string_view key, std::string_view fallback) const {
    const auto value = Find(key);
    std::string_view text;
    if (!value) return std::string(fallback);
    if (value->get(text) != simdjson::SUCCESS) return Bad(key, "must be a string");
    return std::string(text);
  }

 private:
  element object_;
};

absl::StatusOr<Architecture> ParseArchitecture(const Fields& fields) {
  const auto names = fields.Find("architectures");
  simdjson::dom::array array;
  std::string_view name;
  if (!names || names->get(array) != simdjson::SUCCESS || array.size() != 1 ||
      array.at(0).get(name) != simdjson::SUCCESS) {
    return Bad("architectures", "must be a list of one class name");
  }
  if (name == "LlamaForCausalLM") return Architecture::kLlama;
  if (name == "MistralForCausalLM") return Architecture::kMistral;
  if (name == "Qwen2ForCausalLM") return Architecture::kQwen2;
  if (name == "Qwen3ForCausalLM") return Architecture::kQwen3;
  return absl::UnimplementedError(absl::StrCat(
      "config.json: architecture ", std::string(name),
      " is not supported; supported are LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM and "
      "Qwen3ForCausalLM"));
}

constexpr int64_t kMaxPositions = int64_t{1} << 24;

// The scaling that the members of `fields` describe; max_positions is that of pre-training unless
// they say otherwise.
absl::StatusOr<RopeScaling> ParseScaling(const Fields& fields, int64_t max_positions) {
  RopeScaling scaling;
  WT_ASSIGN_OR_RETURN(std::string type, fields.String("rope_type", ""));
  if (type.empty()) {
    WT_ASSIGN_OR_RETURN(type, fields.String("type", ""));
  }
  if (type == "default") return scaling;
  if (type != "linear" && type != "dynamic" && type != "llama3" && type != "yarn") {
    return absl::UnimplementedError(absl::StrCat("config.json: rope_scaling type '", type,
                                                 "' is not supported; supported are default, "
                                                 "linear, dynamic, llama3 and yarn"));
  }
  WT_ASSIGN_OR_RETURN(scaling.factor, fields.Number("factor", std::nullopt));
  WT_ASSIGN_OR_RETURN(scaling.original_max_positions, fields.Int("original_max_position_embeddings",
                                                                 max_positions, 1, kMaxPositions));
  if (type == "linear") {
    scaling.type = RopeScalingType::kLinear;
  } else if (type == "dynamic") {
    scaling.type = RopeScalingType::kDynamic;
    scaling.original_max_positions = max_positions;
  } else if (type == "llama3") {
    scaling.type = RopeScalingType::kLlama3;
    WT_ASSIGN_OR_RETURN(scaling.low_freq_factor, fields.Number("low_freq_factor", std::nullopt));
    WT_ASSIGN_OR_RETURN(scaling.high_freq_factor, fields.Number("high_freq_factor", std::nullopt));
    if (scaling.high_freq_factor <= scaling.low_freq_factor) {
      return Bad("rope_scaling.high_freq_factor", "must be above low_freq_factor");
    }
  } else {
    scaling.type = RopeScalingType::kYarn;
    if (fields.Find("mscale") || fields.Find("mscale_all_dim")) {
      return absl::UnimplementedError("config.json: rope_scaling.mscale is not supported");
    }
    WT_ASSIGN_OR_RETURN(scaling.beta_fast, fields.Number("beta_fast", 32.0));
    WT_ASSIGN_OR_RETURN(scaling.beta_slow, fields.Number("beta_slow", 1.0));
    if (fields.Find("attention_factor")) {
      WT_ASSIGN_OR_RETURN(scaling.attention_factor, fields.Number("attention_factor", 1.0));
    }
  }
  return scaling;
}

absl::StatusOr<std::optional<element>> FindObject(const Fields& top, std::string_view key) {
  const auto object = top.Find(key);
  if (object && !object->is_object()) return Bad(key, "must be an object");
  return object;
}

// Folders of transformers 5 say in rope_parameters what older ones say in rope_theta and
// rope_scaling. Both may be there, for readers of either kind; then they must agree.
absl::Status ParseRope(const Fields& top, ModelConfig& config) {
  WT_ASSIGN_OR_RETURN(config.rope_theta, top.Number("rope_theta", 10000.0));
  WT_ASSIGN_OR_RETURN(const auto old, FindObject(top, "rope_scaling"));
  if (old) {
    WT_ASSIGN_OR_RETURN(config.rope_scaling, ParseScaling(Fields(*old), config.max_positions));
  }
  WT_ASSIGN_OR_RETURN(const auto parameters, FindObject(top, "rope_parameters"));
  if (!parameters) return absl::OkStatus();

  const Fields fields(*parameters);
  // One set of parameters for each kind of layer, or a rotation of a part of each head.
  for (const char* key : {"full_attention", "sliding_attention", "partial_rotary_factor"}) {
    if (fields.Find(key)) {
      return absl::UnimplementedError(
          absl::StrCat("config.json: rope_parameters.", key, " is not supported"));
    }
  }
  WT_ASSIGN_OR_RETURN(const double theta, fields.Number("rope_theta", config.rope_theta));
  WT_ASSIGN_OR_RETURN(const RopeScaling scaling, ParseScaling(fields, config.max_positions));
  if ((top.Find("rope_theta") && theta != config.rope_theta) ||
      (old && scaling != config.rope_scaling)) {
    return Bad("rope_parameters", "contradicts rope_theta or rope_scaling");
  }
  config.rope_theta = theta;
  config.rope_scaling = scaling;
  return absl::OkStatus();
}

absl::Status ParseEos(const Fields& fields, ModelConfig& config) {
  const auto eos = fields.Find("eos_token_id");
  if (!eos) return absl::OkStatus();
  int64_t id = 0;
  if (eos->get(id) == simdjson::SUCCESS) {
    config.eos_token_ids.push_back(id);
    return absl::OkStatus();
  }
  simdjson::dom::array ids;
  if (eos->get(ids) != simdjson::SUCCESS) {
    return Bad("eos_token_id", "must be an integer or a list of integers");
  }
  for (element item : ids) {
    if (item.get(id) != simdjson::SUCCESS) return Bad("eos_token_id", "must hold integers");
    config.eos_token_ids.push_back(id);
  }
  return absl::OkStatus();
}

absl::Status ParseSizes(const Fields& fields, ModelConfig& config) {
  WT_ASSIGN_OR_RETURN(config.vocab_size, fields.Int("vocab_size", std::nullopt, 1, 1 << 22));
  WT_ASSIGN_OR_RETURN(config.hidden_size, fields.Int("hidden_size", std::nullopt, 1, 1 << 16));
  WT_ASSIGN_OR_RETURN(config.intermediate_size,
                      fields.Int("intermediate_size", std::nullopt, 1, 1 << 18));
  WT_ASSIGN_OR_RETURN(config.num_layers, fields.Int("num_hidden_layers", std::nullopt, 1, 1024));
  WT_ASSIGN_OR_RETURN(config.num_heads, fields.Int("num_attention_heads", std::nullopt, 1, 1024));
  WT_ASSIGN_OR_RETURN(config.num_kv_heads,
                      fields.Int("num_key_value_heads", config.num_heads, 1, config.num_heads));
  if (config.num_heads % config.num_kv_heads != 0) {
    return Bad("num_key_value_heads", "must divide num_attention_heads");
  }
  // Qwen3's class default is 128 whatever the other sizes are.
  const int64_t head_dim =
      config.architecture == Architecture::kQwen3 ? 128 : config.hidden_size / config.num_heads;
  WT_ASSIGN_OR_RETURN(config.head_dim, fields.Int("head_dim", head_dim, 2, 1024));
  if (config.head_dim % 2 != 0) return Bad("head_dim", "must be even");
  WT_ASSIGN_OR_RETURN(config.max_positions,
                      fields.Int("max_position_embeddings", std::nullopt, 1, kMaxPositions));
  return absl::OkStatus();
}

absl::Status ParseVariants(const Fields& fields, ModelConfig& config) {
  const Architecture architecture = config.architecture;
  if (architecture == Architecture::kLlama || architecture == Architecture::kQwen3) {
    WT_ASSIGN_OR_RETURN(config.qkv_bias, fields.Bool("attention_bias", false));
    config.o_bias = config.qkv_bias;
  }
  if (architecture == Architecture::kLlama) {
    WT_ASSIGN_OR_RETURN(config.mlp_bias, fields.Bool("mlp_bias", false));
  }
  if (architecture == Architecture::kQwen2) config.qkv_bias = true;
  config.qk_norm = architecture == Architecture::kQwen3;
  WT_ASSIGN_OR_RETURN(config.tied_embeddings, fields.Bool("tie_word_embeddings", false));

  WT_ASSIGN_OR_RETURN(bool use_window, fields.Bool("use_sliding_window", false));
  const bool mistral = architecture == Architecture::kMistral;
  if (mistral || (architecture != Architecture::kLlama && use_window)) {
    WT_ASSIGN_OR_RETURN(config.sliding_window, fields.Int("sliding_window", 0, 0, kMaxPositions));
  }
  if (!mistral && config.sliding_window > 0) {
    WT_ASSIGN_OR_RETURN(int64_t full_layers, fields.Int("max_window_layers", 28, 0, 1024));
    if (full_layers >= config.num_layers) {
      config.sliding_window = 0;  // every layer lies below the first windowed one
    } else if (full_layers > 0) {
      return absl::UnimplementedError(
          "config.json: max_window_layers that gives some layers a sliding window and others none "
          "is not supported");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view config_json) {
  simdjson::dom::parser parser;
  element root;
  const auto error = parser.parse(simdjson::padded_string(config_json)).get(root);
  if (error != simdjson::SUCCESS || !root.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat("config.json: not a JSON object: ", simdjson::error_message(error)));
  }
  const Fields fields(root);
  ModelConfig config;
  WT_ASSIGN_OR_RETURN(config.architecture, ParseArchitecture(fields));
  WT_RETURN_IF_ERROR(ParseSizes(fields, config));
  WT_RETURN_IF_ERROR(ParseVariants(fields, config));
  WT_ASSIGN_OR_RETURN(std::string activation, fields.String("hidden_act", "silu"));
  if (activation != "silu") {
    return absl::UnimplementedError(
        absl::StrCat("config.json: hidden_act '", activation, "' is not supported; only silu is"));
  }
  if (fields.Find("quantization_config")) {
    return absl::UnimplementedError(
        "config.json: quantization_config is not supported; bring the model in fp32, fp16 or bf16");
  }
  WT_ASSIGN_OR_RETURN(config.rms_norm_eps, fields.Number("rms_norm_eps", 1e-6));
  WT_RETURN_IF_ERROR(ParseRope(fields, config));
  WT_RETURN_IF_ERROR(ParseEos(fields, config));
  WT_ASSIGN_OR_RETURN(config.bos_token_id, fields.Int("bos_token_id", -1, -1, config.vocab_size));
  WT_ASSIGN_OR_RETURN(const std::string older, fields.String("torch_dtype", ""));
  WT_ASSIGN_OR_RETURN(config.stored_dtype, fields.String("dtype", older));
  return config;
}

}  // namespace wardtune
