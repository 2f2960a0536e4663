#include "formats/peft_adapter.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "base/status_matchers.h"
#include "formats/safetensors_reader.h"
#include "formats/safetensors_writer.h"

namespace wardtune {
namespace {

using ::testing::HasSubstr;
using ::wardtune::testing::StatusIs;

constexpr std::string_view kModule = "model.layers.0.self_attn.q_proj";

PeftAdapter Adapter() {
  PeftAdapter adapter;
  adapter.base_model = "some/base";
  adapter.rank = 2;
  adapter.alpha = 4;
  adapter.modules[std::string(kModule)] = {3, 4, {1, 2, 3, 4, 5, 6}, {1, 2, 3, 4, 5, 6, 7, 8}};
  adapter.modules["model.layers.0.mlp.up_proj"] = {3, 1, {1, 0, 0, 0, 1, 0}, {.5f, -.5f}};
  return adapter;
}

FileSet Built() { return BuildPeftAdapter(Adapter(), {}).value(); }

TEST(PeftAdapterTest, ReadsBackWhatItBuilt) {
  WT_ASSERT_OK_AND_ASSIGN(const PeftAdapter read, ParsePeftAdapter(Built()));
  EXPECT_EQ(read.base_model, "some/base");
  EXPECT_EQ(read.rank, 2);
  EXPECT_EQ(read.alpha, 4);
  ASSERT_EQ(read.modules.size(), 2u);
  const LoraModule& module = read.modules.at(std::string(kModule));
  EXPECT_EQ(module.in_features, 3);
  EXPECT_EQ(module.out_features, 4);
  EXPECT_EQ(module.a, Adapter().modules.at(std::string(kModule)).a);
  EXPECT_EQ(module.b, Adapter().modules.at(std::string(kModule)).b);
}

TEST(PeftAdapterTest, UsesTheNamesAndFieldsOfPeft) {
  const FileSet set = Built();
  WT_ASSERT_OK_AND_ASSIGN(
      const auto content,
      ParseSafetensors(std::as_bytes(std::span(set.at("adapter_model.safetensors")))));
  EXPECT_EQ(content.metadata.at("format"), "pt");
  const auto& a =
      content.tensors.at("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight");
  EXPECT_EQ(a.shape, (std::vector<int64_t>{2, 3}));
  const std::string& config = set.at("adapter_config.json");
  EXPECT_THAT(config, HasSubstr("\"target_modules\": [\"q_proj\", \"up_proj\"]"));
  EXPECT_THAT(config, HasSubstr("\"peft_type\": \"LORA\""));
}

TEST(PeftAdapterTest, TheCardShowsFactsAndScoresAndEscapesMarkup) {
  ModelCard card;
  card.facts = {{"Rows", "1|2\n<b>"}};
  card.safety_scores = {{"category one", "base", 40, 10, 0.14, 0.40}};
  card.judge_digest = "abc";
  WT_ASSERT_OK_AND_ASSIGN(const FileSet set, BuildPeftAdapter(Adapter(), card));
  const std::string& text = set.at("README.md");
  EXPECT_THAT(text, HasSubstr("base_model: \"some/base\""));
  EXPECT_THAT(text, HasSubstr("| Rows | 1\\|2 \\<b> |"));
  EXPECT_THAT(text, HasSubstr("| category one | base | 40 | 10 | 25.0% | 14.0% to 40.0% |"));
  EXPECT_THAT(text, HasSubstr("Judge: SHA-256 `abc`"));
  EXPECT_EQ(set, BuildPeftAdapter(Adapter(), card).value());
}

TEST(PeftAdapterTest, RefusesToBuildWhatIsBroken) {
  const auto expect_refused = [](PeftAdapter adapter, const char* why) {
    EXPECT_THAT(BuildPeftAdapter(adapter, {}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(why)));
  };
  PeftAdapter adapter = Adapter();
  adapter.modules.begin()->second.a[0] = std::nanf("");
  expect_refused(adapter, "NaN");
  adapter = Adapter();
  adapter.modules.begin()->second.a.pop_back();
  expect_refused(adapter, "sizes");
  adapter = Adapter();
  adapter.rank = 0;
  expect_refused(adapter, "rank");
  adapter = Adapter();
  adapter.alpha = std::nan("");
  expect_refused(adapter, "alpha");
  adapter.modules.clear();
  expect_refused(adapter, "no module");
}

TEST(PeftAdapterTest, RefusesAdaptersItCouldNotTrainOnExactly) {
  const struct {
    const char* from;
    const char* to;
    const char* why;
  } changes[] = {
      {"\"LORA\"", "\"IA3\"", "peft_type"},
      {"\"use_dora\": false", "\"use_dora\": true", "use_dora"},
      {"\"r\": 2", "\"r\": 3", "rank 3"},
      {"\"r\": 2", "\"r\": \"2\"", "r must be"},
      {"\"bias\": \"none\"", "\"bias\": \"all\"", "bias"},
      {"\"modules_to_save\": null", "\"modules_to_save\": [\"lm_head\"]", "modules_to_save"},
      {"\"use_rslora\": false", "\"r\": 2", "twice"},
  };
  for (const auto& change : changes) {
    FileSet set = Built();
    std::string& config = set["adapter_config.json"];
    const size_t at = config.find(change.from);
    ASSERT_NE(at, std::string::npos) << change.from;
    config.replace(at, std::strlen(change.from), change.to);
    EXPECT_THAT(ParsePeftAdapter(set),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(change.why)));
  }
}

TEST(PeftAdapterTest, RefusesAModuleWithOneFactorAndWidensHalfPrecision) {
  FileSet set = Built();
  const std::vector<uint16_t> a = {0x3F80, 0xC000, 0, 0, 0, 0};  // bf16 1, -2
  const std::vector<uint16_t> b = {0x3C00, 0x0001};              // fp16 1, 2^-24
  const NamedTensor a_tensor = {"base_model.model.m.q.lora_A.weight",
                                TensorDType::kBF16,
                                {2, 3},
                                std::as_bytes(std::span(a))};
  const NamedTensor b_tensor = {
      "base_model.model.m.q.lora_B.weight", TensorDType::kF16, {1, 2}, std::as_bytes(std::span(b))};
  set["adapter_model.safetensors"] = SerializeSafetensors({a_tensor}).value();
  EXPECT_THAT(ParsePeftAdapter(set), StatusIs(absl::StatusCode::kInvalidArgument));
  set["adapter_model.safetensors"] = SerializeSafetensors({a_tensor, b_tensor}).value();
  WT_ASSERT_OK_AND_ASSIGN(const PeftAdapter read, ParsePeftAdapter(set));
  EXPECT_EQ(read.modules.at("m.q").a, (std::vector<float>{1, -2, 0, 0, 0, 0}));
  EXPECT_EQ(read.modules.at("m.q").b, (std::vector<float>{1, std::ldexp(1.0f, -24)}));
}

TEST(PeftAdapterTest, WritesTheFolder) {
  PosixFileSystem files;
  const std::string folder = ::testing::TempDir() + "/peft_adapter_test/adapter";
  std::filesystem::remove_all(folder);
  WT_ASSERT_OK(WriteFileSet(Built(), files, folder));
  EXPECT_EQ(files.List(folder).value().size(), 3u);
  EXPECT_EQ(files.ReadFile(folder + "/README.md").value(), Built().at("README.md"));
}

}  // namespace
}  // namespace wardtune
