#include "worker/security/activation_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/status_matchers.h"
#include "worker/model/testing/tiny_model.h"
#include "worker/security/testing/random_vector.h"

namespace wardtune {
namespace {

using ::testing::HasSubstr;
using ::wardtune::testing::RandomVector;
using ::wardtune::testing::StatusIs;

class ActivationCheckTest : public ::testing::Test {
 protected:
  ActivationCheckTest()
      : base_(testing::LoadTinyModel("activation", testing::TinyConfig("LlamaForCausalLM"))),
        vector_(RandomVector(base_.config(), 7, 0.5f)),
        folded_(*FoldAdapter(base_, vector_)),
        canaries_(*RecordCanaries(base_, folded_, {{1, 2, 3}, {40, 41}, {9}})) {}

  absl::Status CheckWith(const CanarySet& canaries, const DecoderModel& model) {
    auto check = ActivationCheck::Create(canaries, base_);
    return check.ok() ? check->Check(model) : check.status();
  }

  LoraAdapter ZeroedVector() const {
    LoraAdapter zero = vector_;
    for (auto& layer : zero.layers) {
      for (LoraMatrices& m : layer) std::fill(m.b.begin(), m.b.end(), 0.0f);
    }
    return zero;
  }

  DecoderModel base_;
  LoraAdapter vector_;
  DecoderModel folded_;
  CanarySet canaries_;
};

TEST_F(ActivationCheckTest, AcceptsTheVectorThatWasRecorded) {
  WT_ASSERT_OK_AND_ASSIGN(ActivationCheck check, ActivationCheck::Create(canaries_, base_));
  WT_EXPECT_OK(check.Check(folded_));
  WT_EXPECT_OK(check.Check(folded_));
  EXPECT_EQ(check.checks(), 2);
  EXPECT_LE(check.max_abs_diff(), 1e-5);
  EXPECT_GT(check.tolerance(), 0.0);
  EXPECT_LE(check.tolerance(), canaries_.separation / 8.0);
}

TEST_F(ActivationCheckTest, CatchesAVectorThatIsNotFoldedIn) {
  EXPECT_THAT(CheckWith(canaries_, base_),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("not active")));
}

TEST_F(ActivationCheckTest, CatchesAZeroedVectorEvenWhenItsRecordWasForged) {
  WT_ASSERT_OK_AND_ASSIGN(const DecoderModel folded, FoldAdapter(base_, ZeroedVector()));
  EXPECT_THAT(CheckWith(canaries_, folded), StatusIs(absl::StatusCode::kFailedPrecondition));

  // The record says what the plain base gives: nothing can pass.
  CanarySet forged = canaries_;
  WT_ASSERT_OK_AND_ASSIGN(const FloatMatrix plain, LastTokenLogits(base_, {}, forged.prompts));
  for (size_t i = 0; i < forged.prompts.size(); ++i) {
    for (size_t k = 0; k < forged.entries[i].size(); ++k) {
      forged.logits[i][k] = plain.row(i)[forged.entries[i][k]];
    }
  }
  forged.separation = 0.0;
  EXPECT_THAT(CheckWith(forged, folded), StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(ActivationCheckTest, CatchesAnAlteredVector) {
  WT_ASSERT_OK_AND_ASSIGN(const DecoderModel other,
                          FoldAdapter(base_, RandomVector(base_.config(), 8, 0.5f)));
  EXPECT_FALSE(CheckWith(canaries_, other).ok());
  // A vector at four thirds of its strength is far from the base, but not the recorded one.
  LoraAdapter stronger = vector_;
  stronger.spec.alpha *= 4.0 / 3.0;
  WT_ASSERT_OK_AND_ASSIGN(const DecoderModel folded, FoldAdapter(base_, stronger));
  EXPECT_THAT(CheckWith(canaries_, folded),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("misses its recorded logit")));
}

TEST_F(ActivationCheckTest, ChecksAVectorBesideTheWeights) {
  WT_ASSERT_OK_AND_ASSIGN(ActivationCheck check, ActivationCheck::Create(canaries_, base_));
  WT_EXPECT_OK(check.CheckBeside(base_, vector_));
  EXPECT_EQ(check.checks(), 1);
  EXPECT_LE(check.max_abs_diff(), 1e-5);

  EXPECT_THAT(check.CheckBeside(base_, ZeroedVector()),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("not active")));
  LoraAdapter altered = vector_;
  for (float& b : altered.layers[0][0].b) b *= 1.5f;
  EXPECT_THAT(check.CheckBeside(base_, altered), StatusIs(absl::StatusCode::kDataLoss));
}

// Symptom: a job on the real model in bf16 failed with "canary 4 misses its recorded logit by
// 0.623": folded weights are rounded, the vector beside them is not.
TEST_F(ActivationCheckTest, RoundingOfFoldedWeightsIsNoAlteredVector) {
  WT_ASSERT_OK_AND_ASSIGN(
      const DecoderModel base,
      DecoderModel::Load(
          testing::WriteTinyModel("activation_bf16", testing::TinyConfig("LlamaForCausalLM")),
          {.compute_type = ComputeType::kBfloat16}));
  WT_ASSERT_OK_AND_ASSIGN(const DecoderModel folded, FoldAdapter(base, vector_));
  WT_ASSERT_OK_AND_ASSIGN(const CanarySet canaries,
                          RecordCanaries(base, folded, canaries_.prompts));
  WT_ASSERT_OK_AND_ASSIGN(ActivationCheck check, ActivationCheck::Create(canaries, base));
  WT_EXPECT_OK(check.CheckBeside(base, vector_));
  EXPECT_EQ(check.max_abs_diff(), 0.0);
}

TEST_F(ActivationCheckTest, RefusesCanariesOfAVectorThatIsNoNumber) {
  LoraAdapter broken = vector_;
  broken.layers.back().back().b[0] = std::numeric_limits<float>::quiet_NaN();
  WT_ASSERT_OK_AND_ASSIGN(const DecoderModel folded, FoldAdapter(base_, broken));
  EXPECT_THAT(RecordCanaries(base_, folded, {{1, 2, 3}}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("no finite number")));
}

TEST_F(ActivationCheckTest, RefusesCanariesOfAVectorWithoutEffect) {
  EXPECT_THAT(RecordCanaries(base_, base_, {{1, 2, 3}}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("too little")));
  EXPECT_THAT(RecordCanaries(base_, folded_, {}), StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace wardtune
