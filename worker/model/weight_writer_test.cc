// Weights that are written and read back are the same weights, for every architecture.
#include "worker/model/weight_writer.h"

#include <gtest/gtest.h>

#include <string>
#include <tuple>

#include "base/file_system.h"
#include "base/status_matchers.h"
#include "worker/model/model_weights.h"
#include "worker/model/testing/tiny_model.h"
#include "worker/model/torch_ops.h"
#include "worker/model/weight_loader.h"

namespace wardtune {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;
using ::wardtune::testing::StatusIs;

struct Architecture {
  const char* name;
  const char* more;
};
// Biases, a tied head, norms of queries and keys.
constexpr Architecture kArchitectures[] = {
    {"LlamaForCausalLM", ""},
    {"Qwen2ForCausalLM", "\"tie_word_embeddings\": true"},
    {"Qwen3ForCausalLM", "\"head_dim\": 16"},
};

class WeightWriterTest : public ::testing::TestWithParam<std::tuple<Architecture, ComputeType>> {
 protected:
  WeightWriterTest()
      : folder_(testing::WriteTinyModel(
            "weight_writer",
            testing::TinyConfig(std::get<0>(GetParam()).name, std::get<0>(GetParam()).more))),
        model_(*DecoderModel::Load(folder_, {.compute_type = std::get<1>(GetParam())})) {}
  ~WeightWriterTest() override { EXPECT_TRUE(files_.RemoveTree(folder_).ok()); }

  PosixFileSystem files_;
  const std::string folder_;
  const DecoderModel model_;
};

TEST_P(WeightWriterTest, TheSameWeightsComeBack) {
  WT_ASSERT_OK_AND_ASSIGN(const std::string bytes, SerializeModelWeights(model_));
  const ModelWeights& like = *model_.weights();
  WT_ASSERT_OK_AND_ASSIGN(auto parsed,
                          ParseModelWeights(bytes, model_.config(), like.dtype, like.device));
  EXPECT_EQ(DecoderModel(parsed).WeightsDigest(), model_.WeightsDigest());

  // As a folder, too.
  ASSERT_TRUE(files_.WriteFileAtomically(folder_ + "/model.safetensors", bytes).ok());
  WT_ASSERT_OK_AND_ASSIGN(const DecoderModel loaded,
                          DecoderModel::Load(folder_, {.compute_type = std::get<1>(GetParam())}));
  EXPECT_EQ(loaded.WeightsDigest(), model_.WeightsDigest());
}

TEST_P(WeightWriterTest, ANumberThatIsNoneIsNotWritten) {
  const c10::InferenceMode guard;
  ModelWeights broken = *model_.weights();
  at::Tensor& weight = broken.layers[1].at(FusedLinear::kGateUp).weight;
  weight = weight.clone();
  weight.narrow(0, weight.size(0) - 1, 1).fill_(std::numeric_limits<float>::infinity());
  EXPECT_THAT(
      SerializeModelWeights(DecoderModel(std::make_shared<const ModelWeights>(broken))).status(),
      StatusIs(StatusCode::kInvalidArgument, HasSubstr("model.layers.1.mlp.up_proj.weight")));
}

INSTANTIATE_TEST_SUITE_P(Models, WeightWriterTest,
                         ::testing::Combine(::testing::ValuesIn(kArchitectures),
                                            ::testing::Values(ComputeType::kFloat32,
                                                              ComputeType::kBfloat16)));

}  // namespace
}  // namespace wardtune
