#include "worker/model/testing/tiny_model.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <map>
#include <span>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file_system.h"
#include "formats/safetensors_writer.h"
#include "worker/model/model_config.h"

namespace wardtune::testing {
namespace {

// CRC-32 (IEEE 802.3), as Python's zlib.crc32.
uint32_t Crc32(const std::string& text) {
  uint32_t crc = 0xffffffffu;
  for (unsigned char c : text) {
    crc ^= c;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1u) != 0 ? 0xedb88320u : 0u);
  }
  return ~crc;
}

using Shapes = std::map<std::string, std::vector<int64_t>>;

void AddLinear(Shapes& shapes, const std::string& name, ProjectionShape shape, bool bias) {
  shapes[name + ".weight"] = {shape.out, shape.in};
  if (bias) shapes[name + ".bias"] = {shape.out};
}

Shapes ShapesOf(const ModelConfig& config) {
  Shapes shapes;
  shapes["model.embed_tokens.weight"] = {config.vocab_size, config.hidden_size};
  shapes["model.norm.weight"] = {config.hidden_size};
  if (!config.tied_embeddings) shapes["lm_head.weight"] = {config.vocab_size, config.hidden_size};
  for (int64_t l = 0; l < config.num_layers; ++l) {
    const std::string layer = absl::StrCat("model.layers.", l, ".");
    shapes[layer + "input_layernorm.weight"] = {config.hidden_size};
    shapes[layer + "post_attention_layernorm.weight"] = {config.hidden_size};
    if (config.qk_norm) {
      shapes[layer + "self_attn.q_norm.weight"] = {config.head_dim};
      shapes[layer + "self_attn.k_norm.weight"] = {config.head_dim};
    }
    for (Projection p : {Projection::kQ, Projection::kK, Projection::kV}) {
      AddLinear(shapes, layer + "self_attn." + std::string(ProjectionName(p)), ShapeOf(config, p),
                config.qkv_bias);
    }
    AddLinear(shapes, layer + "self_attn.o_proj", ShapeOf(config, Projection::kO), config.o_bias);
    for (Projection p : {Projection::kGate, Projection::kUp, Projection::kDown}) {
      AddLinear(shapes, layer + "mlp." + std::string(ProjectionName(p)), ShapeOf(config, p),
                config.mlp_bias);
    }
  }
  return shapes;
}

std::string WriteFiles(const std::string& folder, const Shapes& shapes, int shards) {
  PosixFileSystem files;
  std::map<std::string, std::vector<float>> values;
  std::vector<std::vector<NamedTensor>> parts(shards);
  std::vector<std::string> index;
  int next = 0;
  for (const auto& [name, shape] : shapes) {
    int64_t count = 1;
    for (int64_t size : shape) count *= size;
    values[name] = FormulaWeights(name, count);
    const int part = next++ % shards;
    parts[part].push_back(
        {name, TensorDType::kF32, shape, std::as_bytes(std::span<const float>(values[name]))});
    index.push_back(absl::StrCat("\"", name, "\": \"part-", part, ".safetensors\""));
  }
  for (int part = 0; part < shards; ++part) {
    const std::string file =
        shards == 1 ? "model.safetensors" : absl::StrCat("part-", part, ".safetensors");
    const auto bytes = SerializeSafetensors(parts[part]);
    EXPECT_TRUE(bytes.ok()) << bytes.status();
    EXPECT_TRUE(files.WriteFileAtomically(folder + "/" + file, *bytes).ok());
  }
  if (shards > 1) {
    EXPECT_TRUE(files
                    .WriteFileAtomically(
                        folder + "/model.safetensors.index.json",
                        absl::StrCat("{\"weight_map\": {", absl::StrJoin(index, ", "), "}}"))
                    .ok());
  }
  return folder;
}

}  // namespace

std::vector<float> FormulaWeights(const std::string& name, int64_t count) {
  const uint32_t offset = Crc32(name);
  const bool norm = name.find("norm") != std::string::npos;
  std::vector<float> values(count);
  for (int64_t i = 0; i < count; ++i) {
    uint32_t x = static_cast<uint32_t>(i) * 2654435761u + offset;
    x ^= x >> 16;
    x *= 0x45d9f3bu;
    x ^= x >> 16;
    const float unit = static_cast<float>(x >> 8) * 0x1.0p-24f - 0.5f;
    values[i] = norm ? 1.0f + unit * 0.5f : unit * 0.5f;
  }
  return values;
}

std::string WriteTinyModel(const std::string& name, const std::string& config_json, int shards) {
  PosixFileSystem files;
  const std::string folder =
      absl::StrCat(::testing::TempDir(), "/wardtune_tiny_", name, "_", getpid());
  EXPECT_TRUE(files.CreateFolders(folder).ok());
  EXPECT_TRUE(files.WriteFileAtomically(folder + "/config.json", config_json).ok());
  const auto config = ParseModelConfig(config_json);
  EXPECT_TRUE(config.ok()) << config.status();
  return WriteFiles(folder, ShapesOf(*config), shards);
}

std::string TinyConfig(const std::string& architecture, const std::string& extra) {
  return absl::StrCat(
      "{\"architectures\": [\"", architecture,
      "\"], \"vocab_size\": 67, \"hidden_size\": 32, \"intermediate_size\": 48, "
      "\"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, "
      "\"max_position_embeddings\": 64, \"rms_norm_eps\": 1e-5",
      extra.empty() ? "" : ", ", extra, "}");
}

DecoderModel LoadTinyModel(const std::string& name, const std::string& config_json,
                           ComputeType type) {
  const std::string folder = WriteTinyModel(name, config_json);
  auto model = DecoderModel::Load(folder, {.compute_type = type});
  EXPECT_TRUE(model.ok()) << model.status();
  PosixFileSystem files;
  EXPECT_TRUE(files.RemoveTree(folder).ok());
  return *std::move(model);
}

}  // namespace wardtune::testing
