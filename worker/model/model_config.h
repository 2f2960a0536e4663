// The shape of a Llama-family decoder, read from the config.json of a Hugging Face model folder.
//
// Supported: LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM. Everything
// that changes the arithmetic is either represented here or refused, so that a model never runs
// with a setting silently dropped.
// Thread safety: plain data.
#ifndef WARDTUNE_WORKER_MODEL_MODEL_CONFIG_H_
#define WARDTUNE_WORKER_MODEL_MODEL_CONFIG_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace wardtune {

enum class Architecture { kLlama, kMistral, kQwen2, kQwen3 };

// How positions beyond the length of pre-training are mapped to rotation angles ("rope_type").
enum class RopeScalingType { kNone, kLinear, kDynamic, kLlama3, kYarn };

struct RopeScaling {
  bool operator==(const RopeScaling&) const = default;

  RopeScalingType type = RopeScalingType::kNone;
  double factor = 1.0;
  // Length of pre-training in tokens; used by kDynamic, kLlama3 and kYarn.
  int64_t original_max_positions = 0;
  // kLlama3.
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  // kYarn; attention_factor < 0 means "derive it from factor".
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  double attention_factor = -1.0;
};

struct ModelConfig {
  Architecture architecture = Architecture::kLlama;
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;  // divides num_heads (grouped-query attention)
  int64_t head_dim = 0;
  int64_t max_positions = 0;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000.0;
  RopeScaling rope_scaling;
  bool qkv_bias = false;         // Qwen2, and Llama with attention_bias
  bool o_bias = false;           // Llama with attention_bias
  bool mlp_bias = false;         // Llama with mlp_bias
  bool qk_norm = false;          // Qwen3: RMSNorm of each head of q and k before RoPE
  bool tied_embeddings = false;  // the output head is the embedding matrix
  // A token attends to itself and the sliding_window - 1 tokens before it; 0 means to all before.
  int64_t sliding_window = 0;
  int64_t bos_token_id = -1;
  std::vector<int64_t> eos_token_ids;
  std::string stored_dtype;  // "dtype" of the folder, or "torch_dtype" in older ones; informative

  int64_t query_size() const { return num_heads * head_dim; }
  int64_t kv_size() const { return num_kv_heads * head_dim; }
};

// Parses the text of a config.json.
// Errors: INVALID_ARGUMENT when the JSON is broken, a field is missing, of the wrong type or out of
// range (the field is named); UNIMPLEMENTED when the architecture, the activation or the RoPE
// scaling is not one that this decoder computes (it is named).
absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view config_json);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_MODEL_CONFIG_H_
