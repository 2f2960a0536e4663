#include "worker/model/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_replace.h"
#include "base/status_matchers.h"

namespace wardtune {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;
using ::wardtune::testing::StatusIs;

constexpr char kLlama[] = R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 67,
  "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
  "num_key_value_heads": 2, "max_position_embeddings": 64, "rope_scaling": null,
  "eos_token_id": [2, 5], "hidden_act": "silu"})";

std::string With(const char* from, const char* to) {
  const std::string text = absl::StrReplaceAll(kLlama, {{from, to}});
  EXPECT_NE(text, kLlama) << "nothing was replaced";
  return text;
}

TEST(ModelConfigTest, ReadsLlamaAndDerivesHeadDim) {
  WT_ASSERT_OK_AND_ASSIGN(const ModelConfig config, ParseModelConfig(kLlama));
  EXPECT_EQ(config.architecture, Architecture::kLlama);
  EXPECT_EQ(config.head_dim, 8);
  EXPECT_EQ(config.kv_size(), 16);
  EXPECT_EQ(config.eos_token_ids, (std::vector<int64_t>{2, 5}));
  EXPECT_FALSE(config.qkv_bias);
  EXPECT_EQ(config.rope_scaling.type, RopeScalingType::kNone);
}

TEST(ModelConfigTest, FamiliesDifferWhereTransformersDoes) {
  WT_ASSERT_OK_AND_ASSIGN(const ModelConfig qwen2,
                          ParseModelConfig(With("LlamaForCausalLM", "Qwen2ForCausalLM")));
  EXPECT_TRUE(qwen2.qkv_bias);
  EXPECT_FALSE(qwen2.o_bias);
  WT_ASSERT_OK_AND_ASSIGN(const ModelConfig qwen3,
                          ParseModelConfig(With("LlamaForCausalLM", "Qwen3ForCausalLM")));
  EXPECT_TRUE(qwen3.qk_norm);
  EXPECT_EQ(qwen3.head_dim, 128);
}

TEST(ModelConfigTest, UnknownArchitectureIsNamed) {
  EXPECT_THAT(ParseModelConfig(With("LlamaForCausalLM", "MambaForCausalLM")),
              StatusIs(StatusCode::kUnimplemented, HasSubstr("MambaForCausalLM")));
}

TEST(ModelConfigTest, WhatWouldChangeTheArithmeticIsRefused) {
  EXPECT_THAT(ParseModelConfig(With("silu", "gelu")),
              StatusIs(StatusCode::kUnimplemented, HasSubstr("gelu")));
  EXPECT_THAT(ParseModelConfig(
                  With("\"rope_scaling\": null", "\"rope_scaling\": {\"type\": \"longrope\"}")),
              StatusIs(StatusCode::kUnimplemented, HasSubstr("longrope")));
  EXPECT_THAT(ParseModelConfig(With("\"rope_scaling\": null", "\"quantization_config\": {}")),
              StatusIs(StatusCode::kUnimplemented, HasSubstr("quantization_config")));
}

// As transformers 5 writes it.
constexpr char kNewRope[] = R"("dtype": "bfloat16", "rope_parameters": {"rope_type": "yarn",
  "rope_theta": 5e5, "factor": 4.0, "original_max_position_embeddings": 16})";
constexpr char kOldRope[] = R"("torch_dtype": "bfloat16", "rope_theta": 500000,
  "rope_scaling": {"type": "yarn", "factor": 4, "original_max_position_embeddings": 16})";

TEST(ModelConfigTest, RopeParametersSayTheSameAsTheOlderFields) {
  WT_ASSERT_OK_AND_ASSIGN(const ModelConfig older,
                          ParseModelConfig(With("\"rope_scaling\": null", kOldRope)));
  const std::string both = std::string(kOldRope) + ", " + kNewRope;
  for (const std::string& rope : {std::string(kNewRope), both}) {
    WT_ASSERT_OK_AND_ASSIGN(const ModelConfig config,
                            ParseModelConfig(With("\"rope_scaling\": null", rope.c_str())));
    EXPECT_EQ(config.rope_theta, 5e5);
    EXPECT_EQ(config.rope_scaling.type, RopeScalingType::kYarn);
    EXPECT_EQ(config.rope_scaling, older.rope_scaling);
    EXPECT_EQ(config.stored_dtype, "bfloat16");
  }
}

TEST(ModelConfigTest, RopeParametersThatContradictOrAreUnknownAreRefused) {
  const auto parse = [](const std::string& rope) {
    return ParseModelConfig(With("\"rope_scaling\": null", rope.c_str()));
  };
  EXPECT_THAT(parse(absl::StrReplaceAll(std::string(kNewRope) + ", " + kOldRope,
                                        {{"\"rope_theta\": 5e5", "\"rope_theta\": 1e4"}})),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("rope_parameters contradicts")));
  EXPECT_THAT(parse(absl::StrReplaceAll(std::string(kNewRope) + ", " + kOldRope,
                                        {{"\"factor\": 4.0", "\"factor\": 2.0"}})),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("rope_parameters contradicts")));
  EXPECT_THAT(parse(R"("rope_parameters": {"rope_type": "longrope"})"),
              StatusIs(StatusCode::kUnimplemented, HasSubstr("longrope")));
  EXPECT_THAT(parse(R"("rope_parameters": {"full_attention": {"rope_theta": 1e4}})"),
              StatusIs(StatusCode::kUnimplemented, HasSubstr("full_attention")));
  EXPECT_THAT(parse(R"("rope_parameters": 3)"),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("must be an object")));
}

TEST(ModelConfigTest, BadFieldsAreNamed) {
  EXPECT_THAT(ParseModelConfig("{"), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(ParseModelConfig(With("\"vocab_size\": 67,", "")),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("vocab_size is missing")));
  EXPECT_THAT(ParseModelConfig(With("\"hidden_size\": 32", "\"hidden_size\": \"32\"")),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("hidden_size must be an integer")));
  EXPECT_THAT(ParseModelConfig(With("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3")),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("must divide")));
  EXPECT_THAT(ParseModelConfig(With("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 100000")),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("num_hidden_layers")));
}

}  // namespace
}  // namespace wardtune
