#include "worker/security/security_vector_trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/status_matchers.h"
#include "worker/model/testing/tiny_model.h"

namespace wardtune {
namespace {

std::vector<TrainingRow> Rows() {
  return {{.ids = {1, 2, 3, 4}, .loss_mask = {0, 0, 1, 1}},
          {.ids = {5, 6, 7, 8}, .loss_mask = {0, 0, 1, 1}}};
}

// The adapter before its first step.
LoraAdapter Start(const DecoderModel& base, const VectorRecipe& recipe) {
  SystemClock clock;
  auto trainer = CreateVectorTrainer(base, recipe, Rows(), Rows(), &clock);
  EXPECT_TRUE(trainer.ok()) << trainer.status();
  return (*trainer)->Adapter();
}

// With one A for both, a job's adapter would resemble the vector before anything is learnt.
TEST(SecurityVectorTrainerTest, StartsFromOtherNumbersThanAJobOfTheSameSeed) {
  const DecoderModel base =
      testing::LoadTinyModel("vector_start", testing::TinyConfig("LlamaForCausalLM"));
  VectorRecipe recipe;
  recipe.lora.rank = 4;
  for (const uint64_t seed : {uint64_t{0}, uint64_t{7}}) {
    recipe.seed = seed;
    const LoraAdapter vector = Start(base, recipe);
    WT_ASSERT_OK_AND_ASSIGN(const LoraAdapter job, InitLora(base.config(), recipe.lora, seed));
    for (size_t l = 0; l < job.layers.size(); ++l) {
      for (const Projection projection : kAllProjections) {
        EXPECT_NE(vector.at(l, projection).a, job.at(l, projection).a);
      }
    }
  }
}

TEST(SecurityVectorTrainerTest, EqualSeedsStartEqually) {
  const DecoderModel base =
      testing::LoadTinyModel("vector_start", testing::TinyConfig("LlamaForCausalLM"));
  VectorRecipe recipe;
  recipe.lora.rank = 4;
  const std::string digest = AdapterDigest(Start(base, recipe));
  EXPECT_EQ(AdapterDigest(Start(base, recipe)), digest);
  recipe.seed = 1;
  EXPECT_NE(AdapterDigest(Start(base, recipe)), digest);
}

TEST(SecurityVectorTrainerTest, RefusesToLeaveOutTheKlTermSilently) {
  const DecoderModel base =
      testing::LoadTinyModel("vector_start", testing::TinyConfig("LlamaForCausalLM"));
  VectorRecipe recipe;
  recipe.lora.rank = 4;
  SystemClock clock;
  EXPECT_THAT(
      CreateVectorTrainer(base, recipe, Rows(), {}, &clock),
      testing::StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr("general rows")));
  recipe.kl_weight = 0.0;
  WT_EXPECT_OK(CreateVectorTrainer(base, recipe, Rows(), {}, &clock));
}

TEST(SecurityVectorTrainerTest, RefusesWhatDoesNotFitIntoMemory) {
  const DecoderModel base =
      testing::LoadTinyModel("vector_start", testing::TinyConfig("LlamaForCausalLM"));
  VectorRecipe recipe;
  recipe.lora.rank = 4;
  SystemClock clock;
  const auto create = [&](int64_t free_bytes) {
    return CreateVectorTrainer(base, recipe, Rows(), Rows(), &clock, free_bytes).status();
  };
  EXPECT_THAT(create(1 << 20), testing::StatusIs(absl::StatusCode::kResourceExhausted,
                                                 ::testing::HasSubstr("MiB are free")));
  WT_EXPECT_OK(create(int64_t{1} << 32));
}

}  // namespace
}  // namespace wardtune
