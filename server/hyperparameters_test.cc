#include "server/hyperparameters.h"

#include <cmath>
#include <string>
#include <vector>

#include "base/status_matchers.h"
#include "google/rpc/error_details.pb.h"

namespace wardtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::wardtune::testing::StatusIs;

constexpr int32_t kContext = 2048;

// The fields that a refusal names.
std::vector<std::string> Blamed(const v1::Hyperparameters& requested) {
  const absl::Status status = ResolveHyperparameters(requested, kContext, {}).status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument));
  google::rpc::BadRequest detail;
  const auto payload = status.GetPayload("type.googleapis.com/google.rpc.BadRequest");
  EXPECT_TRUE(payload.has_value() && detail.ParseFromString(std::string(*payload)));
  std::vector<std::string> fields;
  for (const auto& violation : detail.field_violations()) fields.push_back(violation.field());
  return fields;
}

TEST(HyperparametersTest, EveryFieldHasADefault) {
  WT_ASSERT_OK_AND_ASSIGN(const v1::Hyperparameters resolved,
                          ResolveHyperparameters({}, kContext, {}));
  EXPECT_EQ(resolved.lora_rank(), 16);
  EXPECT_EQ(resolved.lora_alpha(), 32);
  EXPECT_EQ(resolved.max_row_tokens(), 1024);
  EXPECT_THAT(resolved.target_modules(), SizeIs(7));
}

TEST(HyperparametersTest, FullParameterTrainingHasARateOfItsOwnAndNoLora) {
  v1::Hyperparameters requested;
  requested.set_method(v1::Hyperparameters::METHOD_FULL_PARAMETER);
  WT_ASSERT_OK_AND_ASSIGN(v1::Hyperparameters resolved,
                          ResolveHyperparameters(requested, kContext, {}));
  EXPECT_EQ(resolved.learning_rate(), 3e-5);
  EXPECT_EQ(resolved.lora_rank(), 0);
  EXPECT_THAT(resolved.target_modules(), IsEmpty());
  requested.set_learning_rate(2e-4);  // allowed for LoRA
  EXPECT_THAT(Blamed(requested), ElementsAre("hyperparameters.learning_rate"));
  requested.set_learning_rate(0);
  requested.set_lora_rank(8);
  requested.set_lora_alpha(8);
  requested.add_target_modules("q_proj");
  requested.set_validation_fraction(0.1);  // has its meaning here too
  EXPECT_THAT(Blamed(requested),
              ElementsAre("hyperparameters.lora_rank", "hyperparameters.lora_alpha",
                          "hyperparameters.target_modules"));
}

TEST(HyperparametersTest, AProviderMayOfferNoFullParameterTraining) {
  v1::Hyperparameters requested;
  requested.set_method(v1::Hyperparameters::METHOD_FULL_PARAMETER);
  const ServerLimits none = {.max_full_parameter_learning_rate = 0};
  EXPECT_THAT(
      ResolveHyperparameters(requested, kContext, none),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("method: METHOD_FULL_PARAMETER is")));
  WT_EXPECT_OK(ResolveHyperparameters({}, kContext, none));
}

// A provider set --max-learning-rate 1e-4, and every job that asked for no rate was refused because
// of the default's 3e-4.
TEST(HyperparametersTest, ADefaultAboveTheProvidersCapBecomesTheCap) {
  const ServerLimits low = {.max_learning_rate = 1e-4,
                            .max_full_parameter_learning_rate = 1e-5,
                            .max_epochs = 1,
                            .max_lora_rank = 8,
                            .max_batch_size = 4};
  WT_ASSERT_OK_AND_ASSIGN(v1::Hyperparameters resolved, ResolveHyperparameters({}, kContext, low));
  EXPECT_EQ(resolved.learning_rate(), 1e-4);
  EXPECT_EQ(resolved.epochs(), 1);
  EXPECT_EQ(resolved.lora_rank(), 8);
  EXPECT_EQ(resolved.lora_alpha(), 16);
  EXPECT_EQ(resolved.batch_size(), 4);
  v1::Hyperparameters requested;
  requested.set_method(v1::Hyperparameters::METHOD_FULL_PARAMETER);
  WT_ASSERT_OK_AND_ASSIGN(resolved, ResolveHyperparameters(requested, kContext, low));
  EXPECT_EQ(resolved.learning_rate(), 1e-5);
  requested.set_learning_rate(3e-5);  // asked for, so refused
  const absl::Status refused = ResolveHyperparameters(requested, kContext, low).status();
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("learning_rate")));
}

TEST(HyperparametersTest, AnUnknownMethodIsRefused) {
  v1::Hyperparameters requested;
  requested.set_method(static_cast<v1::Hyperparameters::Method>(9));
  EXPECT_THAT(Blamed(requested), ElementsAre("hyperparameters.method"));
}

TEST(HyperparametersTest, ABadRankIsBlamedAlone) {
  v1::Hyperparameters requested;
  for (const int32_t rank : {1'000'000, -1}) {
    requested.set_lora_rank(rank);
    EXPECT_THAT(Blamed(requested), ElementsAre("hyperparameters.lora_rank"));
  }
  requested.set_learning_rate(std::nan(""));
  EXPECT_THAT(Blamed(requested),
              ElementsAre("hyperparameters.learning_rate", "hyperparameters.lora_rank"));
}

TEST(HyperparametersTest, AlphaIsCappedByTheJobsOwnRank) {
  v1::Hyperparameters requested;
  requested.set_lora_rank(1);
  requested.set_lora_alpha(4);
  WT_EXPECT_OK(ResolveHyperparameters(requested, kContext, {}));
  requested.set_lora_alpha(4.5);
  EXPECT_THAT(Blamed(requested), ElementsAre("hyperparameters.lora_alpha"));
}

TEST(HyperparametersTest, AnEndlessListOfModulesIsOneViolation) {
  v1::Hyperparameters requested;
  for (int i = 0; i < 100'000; ++i) requested.add_target_modules("lm_head");
  EXPECT_THAT(Blamed(requested), ElementsAre("hyperparameters.target_modules"));
}

TEST(HyperparametersTest, ARefusalFitsIntoTrailers) {
  v1::Hyperparameters requested;
  for (int i = 0; i < 7; ++i) requested.add_target_modules("lm_head");
  requested.set_epochs(-1);
  requested.set_learning_rate(-1);
  requested.set_batch_size(-1);
  EXPECT_THAT(Blamed(requested), SizeIs(8));
  EXPECT_THAT(ResolveHyperparameters(requested, kContext, {}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("; and 2 more")));
}

TEST(HyperparametersTest, ValidationIsBoundedAndPatienceNeedsIt) {
  v1::Hyperparameters requested;
  requested.set_validation_fraction(0.6);
  EXPECT_THAT(Blamed(requested), ElementsAre("hyperparameters.validation_fraction"));
  requested.set_validation_fraction(0);
  requested.set_early_stopping_patience(2);
  EXPECT_THAT(Blamed(requested), ElementsAre("hyperparameters.early_stopping_patience"));
  requested.set_validation_fraction(0.5);
  requested.set_validation_steps(-1);
  EXPECT_THAT(Blamed(requested), ElementsAre("hyperparameters.validation_steps"));
  requested.set_validation_steps(10);
  WT_EXPECT_OK(ResolveHyperparameters(requested, kContext, {}));
}

TEST(RecipeTest, GuardRowsAreOnUnlessSwitchedOff) {
  WT_ASSERT_OK_AND_ASSIGN(const v1::SecurityVectorRecipe usual, ResolveRecipe({}));
  EXPECT_EQ(usual.guard_rows(), 1);
  EXPECT_THAT(usual.guard_refusals(), IsEmpty());  // the base's own answers are held
  v1::SecurityVectorRecipe requested;
  requested.set_guard_rows(0);
  requested.add_guard_refusals("No.");
  WT_ASSERT_OK_AND_ASSIGN(const v1::SecurityVectorRecipe off, ResolveRecipe(requested));
  EXPECT_EQ(off.guard_rows(), 0);
  EXPECT_THAT(off.guard_refusals(), ElementsAre("No."));
}

TEST(RecipeTest, GuardRowsAreBounded) {
  const auto refused = [](const v1::SecurityVectorRecipe& requested, const char* field) {
    EXPECT_THAT(ResolveRecipe(requested),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(field)));
  };
  v1::SecurityVectorRecipe recipe;
  recipe.set_guard_rows(9);
  refused(recipe, "guard_rows");
  recipe.set_guard_rows(-1);
  refused(recipe, "guard_rows");
  recipe.set_guard_rows(1);
  recipe.add_guard_refusals("");
  refused(recipe, "guard_refusals");
  recipe.set_guard_refusals(0, std::string(513, 'x'));
  refused(recipe, "guard_refusals");
  recipe.clear_guard_refusals();
  for (int i = 0; i < 17; ++i) recipe.add_guard_refusals("No.");
  refused(recipe, "guard_refusals");
}

}  // namespace
}  // namespace wardtune
