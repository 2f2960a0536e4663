#include "worker/model/generator.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/status_matchers.h"
#include "worker/model/testing/tiny_model.h"

namespace wardtune {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;
using ::wardtune::testing::StatusIs;

std::vector<std::vector<int32_t>> Prompts() {
  std::vector<std::vector<int32_t>> prompts;
  for (int32_t length : {3, 11, 7, 1, 5}) {
    std::vector<int32_t> prompt;
    for (int32_t i = 0; i < length; ++i) prompt.push_back((length * 13 + i * 29) % 67);
    prompts.push_back(prompt);
  }
  return prompts;
}

// The arg-max path without a cache: the whole sequence anew for every token.
std::vector<int32_t> GreedyWithoutCache(const DecoderModel& model, std::vector<int32_t> sequence,
                                        int64_t count) {
  std::vector<int32_t> generated;
  for (int64_t i = 0; i < count; ++i) {
    const auto logits = AllLogits(model, {}, sequence);
    EXPECT_TRUE(logits.ok()) << logits.status();
    const auto row = logits->row(logits->rows - 1);
    sequence.push_back(
        static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin()));
    generated.push_back(sequence.back());
  }
  return generated;
}

TEST(GeneratorTest, CacheAndBatchChangeNothing) {
  for (const char* extra : {"\"tie_word_embeddings\": false", "\"sliding_window\": 4"}) {
    const DecoderModel model =
        testing::LoadTinyModel("generate", testing::TinyConfig("MistralForCausalLM", extra));
    for (int64_t batch : {1, 2, 64}) {
      WT_ASSERT_OK_AND_ASSIGN(
          const auto generated,
          Generate(model, {}, Prompts(), {.max_new_tokens = 9, .max_batch = batch}));
      for (size_t i = 0; i < generated.size(); ++i) {
        EXPECT_EQ(generated[i], GreedyWithoutCache(model, Prompts()[i], 9))
            << "prompt " << i << " batch " << batch << " " << extra;
      }
    }
  }
}

TEST(GeneratorTest, ASharedPrefixChangesNothing) {
  const DecoderModel model =
      testing::LoadTinyModel("prefix", testing::TinyConfig("LlamaForCausalLM"));
  std::vector<std::vector<int32_t>> prompts = Prompts();
  for (std::vector<int32_t>& prompt : prompts) {
    prompt.insert(prompt.begin(), {4, 8, 15, 16, 23, 42, 4, 8, 15});
  }
  prompts.push_back(prompts[3]);
  WT_ASSERT_OK_AND_ASSIGN(const auto generated,
                          Generate(model, {}, prompts, {.max_new_tokens = 9, .max_batch = 3}));
  for (size_t i = 0; i < prompts.size(); ++i) {
    EXPECT_EQ(generated[i], GreedyWithoutCache(model, prompts[i], 9)) << "prompt " << i;
  }
}

// bf16 rounds otherwise on every way through the model, so a token need not be the very best one.
TEST(GeneratorTest, WhatIsSharedInBf16LeavesTheBestTokens) {
  for (const char* extra : {"\"head_dim\": 32", "\"head_dim\": 32, \"sliding_window\": 11"}) {
    const std::string config = testing::TinyConfig("MistralForCausalLM", extra);
    const DecoderModel full = testing::LoadTinyModel("exact", config);
    const DecoderModel model = testing::LoadTinyModel("bf16", config, ComputeType::kBfloat16);
    std::vector<std::vector<int32_t>> prompts = Prompts();
    for (std::vector<int32_t>& prompt : prompts) {
      prompt.insert(prompt.begin(), {4, 8, 15, 16, 23, 42, 4, 8, 15});
      prompt.push_back(5);
    }
    prompts.push_back(prompts[1]);
    // Enough tokens that weights are laid out.
    WT_ASSERT_OK_AND_ASSIGN(const auto generated,
                            Generate(model, {}, prompts, {.max_new_tokens = 30}));
    ASSERT_EQ(generated.size(), prompts.size());
    for (size_t i = 0; i < prompts.size(); ++i) {
      std::vector<int32_t> sequence = prompts[i];
      ASSERT_EQ(generated[i].size(), 30u);
      for (const int32_t token : generated[i]) {
        WT_ASSERT_OK_AND_ASSIGN(const auto logits, AllLogits(full, {}, sequence));
        const auto row = logits.row(logits.rows - 1);
        const float best = *std::max_element(row.begin(), row.end());
        const float worst = *std::min_element(row.begin(), row.end());
        ASSERT_GT(row[token], best - 0.02f * (best - worst)) << "prompt " << i << " " << extra;
        sequence.push_back(token);
      }
    }
  }
}

TEST(GeneratorTest, EndsBeforeAStopId) {
  const DecoderModel model =
      testing::LoadTinyModel("stop", testing::TinyConfig("LlamaForCausalLM"));
  WT_ASSERT_OK_AND_ASSIGN(const auto all, Generate(model, {}, Prompts(), {.max_new_tokens = 8}));
  const int32_t stop = all[1][3];
  const size_t first = std::find(all[1].begin(), all[1].end(), stop) - all[1].begin();
  WT_ASSERT_OK_AND_ASSIGN(const auto stopped, Generate(model, {}, Prompts(),
                                                       {.max_new_tokens = 8, .stop_ids = {stop}}));
  EXPECT_EQ(stopped[1], std::vector<int32_t>(all[1].begin(), all[1].begin() + first));
  WT_ASSERT_OK_AND_ASSIGN(
      const auto kept, Generate(model, {}, Prompts(),
                                {.max_new_tokens = 8, .stop_ids = {stop}, .keep_stop_id = true}));
  EXPECT_EQ(kept[1], std::vector<int32_t>(all[1].begin(), all[1].begin() + first + 1));
}

TEST(GeneratorTest, SeedsDecideTheDrawsAndGroupsDoNot) {
  const DecoderModel model =
      testing::LoadTinyModel("sample", testing::TinyConfig("LlamaForCausalLM"));
  GenerateOptions options{.max_new_tokens = 12, .temperature = 1.0, .seed = 5};
  WT_ASSERT_OK_AND_ASSIGN(const auto first, Generate(model, {}, Prompts(), options));
  options.max_batch = 2;
  WT_ASSERT_OK_AND_ASSIGN(const auto regrouped, Generate(model, {}, Prompts(), options));
  EXPECT_EQ(first, regrouped);
  options.seed = 6;
  WT_ASSERT_OK_AND_ASSIGN(const auto other, Generate(model, {}, Prompts(), options));
  EXPECT_NE(first, other);
}

TEST(GeneratorTest, BadInputIsNamedAndProgressCancels) {
  const DecoderModel model =
      testing::LoadTinyModel("errors", testing::TinyConfig("LlamaForCausalLM"));
  auto prompts = Prompts();
  prompts[2][0] = 67;
  EXPECT_THAT(Generate(model, {}, prompts, {.max_new_tokens = 8}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("prompt 2: token 0 has id 67")));
  EXPECT_THAT(Generate(model, {}, Prompts(), {.max_new_tokens = 60}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("prompt 1")));
  int64_t seen = 0;
  EXPECT_THAT(Generate(model, {}, Prompts(),
                       {.max_new_tokens = 2,
                        .max_batch = 2,
                        .progress = [&](int64_t finished) { return (seen = finished) < 4; }}),
              StatusIs(StatusCode::kCancelled));
  EXPECT_EQ(seen, 4);
}

TEST(GeneratorTest, GroupsAreAsLargeAsTheirCachesMayBe) {
  const DecoderModel model =
      testing::LoadTinyModel("groups", testing::TinyConfig("LlamaForCausalLM"));
  const std::vector<std::vector<int32_t>> prompts = {{1, 2, 3, 4}, {1, 2}, {3, 4}, {5, 6}, {7}};
  const auto ends = [&](int64_t max_cache_tokens) {
    std::vector<int64_t> finished;
    const auto generated = Generate(
        model, {}, prompts,
        {.max_new_tokens = 6, .max_cache_tokens = max_cache_tokens, .progress = [&](int64_t n) {
           finished.push_back(n);
           return true;
         }});
    EXPECT_TRUE(generated.ok()) << generated.status();
    return finished;
  };
  EXPECT_EQ(ends(1000), (std::vector<int64_t>{5}));
  EXPECT_EQ(ends(24), (std::vector<int64_t>{3, 5}));  // 3 (2 + 6), then 2 (4 + 6)
  EXPECT_EQ(ends(1), (std::vector<int64_t>{1, 2, 3, 4, 5}));
}

TEST(ResolveComputeTest, NamesTheDeviceThatAutoTakes) {
  WT_ASSERT_OK_AND_ASSIGN(const ComputeTarget cpu, ResolveCompute({.device = "cpu"}));
  EXPECT_EQ(cpu.device, "cpu");
  EXPECT_NE(cpu.type, ComputeType::kAuto);
  WT_ASSERT_OK_AND_ASSIGN(const ComputeTarget taken, ResolveCompute({.device = "auto"}));
  EXPECT_TRUE(taken.device == "cpu" || taken.device == "cuda:0") << taken.device;
  WT_ASSERT_OK_AND_ASSIGN(
      const ComputeTarget exact,
      ResolveCompute({.compute_type = ComputeType::kFloat32, .device = "auto"}));
  EXPECT_EQ(ComputeTypeName(exact.type), "float32");
  EXPECT_EQ(ResolveCompute({.device = "tpu"}).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace wardtune
