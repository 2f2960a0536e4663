// The decoder against what transformers computed (testdata/record_golden.py), fp32.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/file_system.h"
#include "base/status_matchers.h"
#include "simdjson.h"
#include "worker/model/decoder.h"
#include "worker/model/generator.h"
#include "worker/model/testing/tiny_model.h"

namespace wardtune {
namespace {

constexpr float kTolerance = 1e-3f;

simdjson::dom::element Golden(simdjson::dom::parser& parser, const std::string& name) {
  PosixFileSystem files;
  const char* source = std::getenv("WARDTUNE_SOURCE_DIR");
  const auto text = files.ReadFile(
      absl::StrCat(source != nullptr ? source : ".", "/worker/model/testdata/", name));
  EXPECT_TRUE(text.ok()) << text.status();
  return parser.parse(simdjson::padded_string(*text)).value();
}

std::vector<int32_t> Ids(simdjson::dom::element list) {
  std::vector<int32_t> ids;
  for (int64_t id : simdjson::dom::array(list)) ids.push_back(static_cast<int32_t>(id));
  return ids;
}

TEST(GoldenTest, EveryArchitectureAndRopeScaling) {
  simdjson::dom::parser parser;
  int compared = 0;
  for (const auto& field : simdjson::dom::object(Golden(parser, "tiny_models.json")["cases"])) {
    SCOPED_TRACE(std::string(field.key));
    const std::string config = simdjson::minify(field.value["config"]);
    const DecoderModel model = testing::LoadTinyModel(std::string(field.key), config);
    WT_ASSERT_OK_AND_ASSIGN(const FloatMatrix logits,
                            AllLogits(model, {}, Ids(field.value["ids"])));
    const simdjson::dom::array rows(field.value["logits"]);
    size_t i = 0;
    for (int64_t position : simdjson::dom::array(field.value["positions"])) {
      int64_t column = 0;
      for (double expected : simdjson::dom::array(rows.at(i))) {
        ASSERT_NEAR(logits.row(position)[column], expected, kTolerance)
            << "position " << position << " token " << column;
        ++column;
        ++compared;
      }
      ++i;
    }
  }
  EXPECT_GT(compared, 10 * 4 * 60);
}

TEST(GoldenTest, ShardsWithAnIndexLoadToTheSameWeights) {
  const std::string config = testing::TinyConfig("LlamaForCausalLM");
  const DecoderModel whole = testing::LoadTinyModel("whole", config);
  WT_ASSERT_OK_AND_ASSIGN(const DecoderModel sharded,
                          DecoderModel::Load(testing::WriteTinyModel("sharded", config, 3),
                                             {.compute_type = ComputeType::kFloat32}));
  EXPECT_EQ(whole.WeightsDigest(), sharded.WeightsDigest());
}

class RealModelTest : public ::testing::Test {
 protected:
  static absl::StatusOr<DecoderModel> Load(ComputeType type) {
    const char* cache = std::getenv("WARDTUNE_CACHE_DIR");
    return DecoderModel::Load(
        absl::StrCat(cache != nullptr ? cache : ".cache", "/models/SmolLM2-135M-Instruct"),
        {.compute_type = type});
  }
};

TEST_F(RealModelTest, LogitsAndGreedyTextEqualTransformers) {
  WT_ASSERT_OK_AND_ASSIGN(const DecoderModel model, Load(ComputeType::kFloat32));
  simdjson::dom::parser parser;
  const simdjson::dom::element golden = Golden(parser, "real_model.json");
  const int64_t stride = golden["vocabulary_step"];
  int prompts = 0;
  for (const auto& field : simdjson::dom::object(golden["prompts"])) {
    SCOPED_TRACE(std::string(field.key));
    const std::vector<std::vector<int32_t>> ids = {Ids(field.value["ids"])};
    WT_ASSERT_OK_AND_ASSIGN(const FloatMatrix logits, LastTokenLogits(model, {}, ids));
    int64_t token = 0;
    for (double expected : simdjson::dom::array(field.value["logits"])) {
      ASSERT_NEAR(logits.row(0)[token], expected, kTolerance) << "token " << token;
      token += stride;
    }
    double sum = 0.0;  // of all of the vocabulary
    for (float logit : logits.row(0)) sum += std::exp(static_cast<double>(logit));
    EXPECT_NEAR(std::log(sum), double(field.value["logsumexp"]), kTolerance);

    WT_ASSERT_OK_AND_ASSIGN(const auto generated, Generate(model, {}, ids, {.max_new_tokens = 12}));
    EXPECT_EQ(generated[0], Ids(field.value["greedy"]));
    ++prompts;
  }
  EXPECT_EQ(prompts, 3);
}

}  // namespace
}  // namespace wardtune
