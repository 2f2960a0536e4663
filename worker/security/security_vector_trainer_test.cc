#include "worker/security/security_vector_trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/status_matchers.h"
#include "worker/model/testing/tiny_model.h"

namespace wardtune {
namespace {

using ::absl::StatusCode;
using ::testing::HasSubstr;
using ::wardtune::testing::StatusIs;

std::vector<TrainingRow> Rows() {
  return {{.ids = {1, 2, 3, 4}, .loss_mask = {0, 0, 1, 1}},
          {.ids = {5, 6, 7, 8}, .loss_mask = {0, 0, 1, 1}}};
}

class SecurityVectorTrainerTest : public ::testing::Test {
 protected:
  SecurityVectorTrainerTest() { recipe_.lora.rank = 4; }

  absl::StatusOr<std::unique_ptr<Trainer>> Create(std::vector<TrainingRow> general_rows) {
    return CreateVectorTrainer(base_, recipe_, Rows(), std::move(general_rows), &clock_);
  }

  // The adapter before its first step.
  LoraAdapter Start() {
    auto trainer = Create(Rows());
    EXPECT_TRUE(trainer.ok()) << trainer.status();
    return (*trainer)->Adapter();
  }

  const DecoderModel base_ =
      testing::LoadTinyModel("vector_start", testing::TinyConfig("LlamaForCausalLM"));
  VectorRecipe recipe_;
  SystemClock clock_;
};

// With one A for both, a job's adapter would resemble the vector before anything is learnt.
TEST_F(SecurityVectorTrainerTest, StartsFromOtherNumbersThanAJobOfTheSameSeed) {
  for (const uint64_t seed : {uint64_t{0}, uint64_t{7}}) {
    recipe_.seed = seed;
    const LoraAdapter vector = Start();
    WT_ASSERT_OK_AND_ASSIGN(const LoraAdapter job, InitLora(base_.config(), recipe_.lora, seed));
    for (size_t l = 0; l < job.layers.size(); ++l) {
      for (const Projection projection : kAllProjections) {
        EXPECT_NE(vector.at(l, projection).a, job.at(l, projection).a);
      }
    }
  }
}

TEST_F(SecurityVectorTrainerTest, EqualSeedsStartEqually) {
  const std::string digest = AdapterDigest(Start());
  EXPECT_EQ(AdapterDigest(Start()), digest);
  recipe_.seed = 1;
  EXPECT_NE(AdapterDigest(Start()), digest);
}

// It was the first of the model's stop ids, which need not be the one that ends a chat's answer.
TEST_F(SecurityVectorTrainerTest, TheBasesAnswerEndsAsTheBaseEndedIt) {
  const std::vector<std::vector<int32_t>> prompts = {{1, 2, 3}};
  const auto answer = [&](const std::vector<int32_t>& stop_ids) {
    auto rows = AnswerByBase(base_, prompts, stop_ids, 8, nullptr);
    EXPECT_TRUE(rows.ok()) << rows.status();
    return rows->at(0).ids;
  };
  const std::vector<int32_t> whole = answer({});
  ASSERT_EQ(whole.size(), 3u + 8u);
  const int32_t said = whole[5];
  const auto end = std::find(whole.begin() + 3, whole.end(), said) + 1;
  int32_t never = 0;  // smaller, so that it comes first
  while (std::find(whole.begin(), whole.end(), never) != whole.end()) ++never;
  EXPECT_EQ(answer({never, said}), std::vector<int32_t>(whole.begin(), end));
}

TEST_F(SecurityVectorTrainerTest, RefusesToLeaveOutTheKlTermSilently) {
  EXPECT_THAT(Create({}), StatusIs(StatusCode::kInvalidArgument, HasSubstr("general rows")));
  recipe_.kl_weight = 0.0;
  WT_EXPECT_OK(Create({}));
}

}  // namespace
}  // namespace wardtune
