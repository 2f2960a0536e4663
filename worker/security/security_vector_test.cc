#include "worker/security/security_vector.h"

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

constexpr const char* kVersion = "securityVectors/stand-in/versions/1";

class SecurityVectorTest : public ::testing::Test {
 protected:
  SecurityVectorTest()
      : base_(testing::LoadTinyModel("vector", testing::TinyConfig("LlamaForCausalLM"))) {
    vector_.adapter = RandomVector(base_.config(), 7, 0.5f);
    vector_.canaries = *RecordCanaries(base_, *FoldAdapter(base_, vector_.adapter), {{1, 2}, {3}});
    vector_.base_sha256 = std::string(64, 'b');
    vector_.recipe_sha256 = std::string(64, 'c');
    vector_.harmful_rows_sha256 = std::string(64, 'd');
    vector_.general_rows_sha256 = std::string(64, 'e');
    vector_.seed = 11;
    vector_.guard = {.learned = {{.ids = {1, 2, 3}, .loss_mask = {0, 1, 1}},
                                 {.ids = {4, 5}, .loss_mask = {0, 1}}},
                     .held = {{.ids = {6, 7, 8, 9}, .loss_mask = {0, 0, 0, 1}}},
                     .per_guarded_rows = 2};
    vector_.categories = {"privacy", "safety"};
  }

  static SealingKeys Key(char fill) {
    return SealingKeys(*SealingKey::Parse(std::string(2 * SealingKey::kBytes, fill)));
  }
  std::string Sealed(const SecurityVector& vector) {
    return *Key('c').Seal(kVersion, *SerializeSecurityVector(vector));
  }
  SecurityVectorIdentity Identity() const {
    return {.version = kVersion,
            .sha256 = SecurityVectorDigest(vector_),
            .base_sha256 = vector_.base_sha256};
  }

  DecoderModel base_;
  SecurityVector vector_;
};

TEST_F(SecurityVectorTest, OpensOneWithoutGuardRows) {
  vector_.guard = {};
  WT_ASSERT_OK_AND_ASSIGN(
      const SecurityVector opened,
      OpenSecurityVector(Key('c'), Identity(), base_.config(), Sealed(vector_)));
  EXPECT_FALSE(opened.guard.active());
  EXPECT_EQ(GuardDigest(opened.guard), "");
}

TEST(GuardSetTest, CountsPerBatchRoundedUpAndDigestsEveryPart) {
  GuardSet set{.learned = {{.ids = {1, 2}, .loss_mask = {0, 1}}}, .per_guarded_rows = 1};
  EXPECT_EQ(set.PerStep(8), 1);
  EXPECT_EQ(set.PerStep(9), 2);
  EXPECT_EQ(set.PerStep(1), 1);
  set.per_guarded_rows = 3;
  EXPECT_EQ(set.PerStep(16), 6);
  const std::string digest = GuardDigest(set);
  GuardSet other = set;
  other.learned[0].ids[1] = 3;
  EXPECT_NE(GuardDigest(other), digest);
  other = set;
  other.learned[0].loss_mask[0] = 1;
  EXPECT_NE(GuardDigest(other), digest);
  other = set;
  other.per_guarded_rows = 2;
  EXPECT_NE(GuardDigest(other), digest);
  other = set;
  std::swap(other.learned, other.held);
  EXPECT_NE(GuardDigest(other), digest);
}

TEST(GuardSetTest, RefusalsAreLearnedAndTheBasesAnswersHeld) {
  const DecoderModel base =
      testing::LoadTinyModel("guard", testing::TinyConfig("LlamaForCausalLM"));
  const TrainingRow row = {.ids = {1, 2}, .loss_mask = {0, 1}};
  const GuardSet set{.learned = {row}, .held = {row, row}, .per_guarded_rows = 1};
  const std::vector<TrainingStream> streams = GuardStreams(set, base, 16);
  ASSERT_EQ(streams.size(), 2u);
  EXPECT_EQ(streams[0].objective, Objective::kCrossEntropy);
  EXPECT_EQ(streams[0].weight, kRefusalWeight);
  EXPECT_EQ(streams[1].objective, Objective::kKlToBase);
  EXPECT_EQ(streams[1].weight, kHoldWeight);
  EXPECT_EQ(streams[1].kl_slack, kHoldSlack);
  EXPECT_EQ(streams[1].rows.size(), 2u);
  for (const TrainingStream& stream : streams) EXPECT_EQ(stream.rows_per_step, 2);
  EXPECT_EQ(set.kinds(), 2u);
  EXPECT_EQ(GuardStreams({.held = {row}, .per_guarded_rows = 1}, base, 8).size(), 1u);
  EXPECT_TRUE(GuardStreams({.held = {row}, .per_guarded_rows = 0}, base, 8).empty());
}

TEST(GuardSetTest, ASetFromBeforeThereWereHeldRowsKeepsItsDigest) {
  const GuardSet set{.learned = {{.ids = {1, 2}, .loss_mask = {0, 1}}}, .per_guarded_rows = 1};
  EXPECT_EQ(GuardDigest(set), "118e4b0ba3d093a8ae948333329b5ec3dbb86cf8dc8dbcfdd1ea74cbaf3e56ea");
}

TEST(GuardSetTest, RowsAreTakenFromAllOverTheFile) {
  const std::vector<int> all = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  EXPECT_EQ(Spread(all, 3), (std::vector<int>{0, 3, 6}));
  EXPECT_EQ(Spread(all, 11), all);
}

TEST_F(SecurityVectorTest, OpensWhatWasSealed) {
  WT_ASSERT_OK_AND_ASSIGN(
      const SecurityVector opened,
      OpenSecurityVector(Key('c'), Identity(), base_.config(), Sealed(vector_)));
  EXPECT_EQ(SecurityVectorDigest(opened), SecurityVectorDigest(vector_));
  EXPECT_EQ(opened.canaries.prompts, vector_.canaries.prompts);
  EXPECT_EQ(opened.canaries.entries, vector_.canaries.entries);
  EXPECT_EQ(opened.canaries.logits, vector_.canaries.logits);
  EXPECT_EQ(opened.canaries.separation, vector_.canaries.separation);
  EXPECT_EQ(GuardDigest(opened.guard), GuardDigest(vector_.guard));
  EXPECT_EQ(opened.guard.learned[1].ids, (std::vector<int32_t>{4, 5}));
  EXPECT_EQ(opened.guard.held[0].ids, (std::vector<int32_t>{6, 7, 8, 9}));
  EXPECT_EQ(opened.recipe_sha256, vector_.recipe_sha256);
  EXPECT_EQ(opened.harmful_rows_sha256, vector_.harmful_rows_sha256);
  EXPECT_EQ(opened.general_rows_sha256, vector_.general_rows_sha256);
  EXPECT_EQ(opened.seed, vector_.seed);
  EXPECT_EQ(opened.categories, vector_.categories);
}

TEST_F(SecurityVectorTest, RefusesOneAlteredWeight) {
  SecurityVector altered = vector_;
  altered.adapter.layers[1][2].b[3] += 1e-3f;
  EXPECT_THAT(OpenSecurityVector(Key('c'), Identity(), base_.config(), Sealed(altered)),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("must train with")));
}

TEST_F(SecurityVectorTest, CallsAZeroedVectorInactive) {
  SecurityVector zero = vector_;
  for (auto& layer : zero.adapter.layers) {
    for (LoraMatrices& m : layer) std::fill(m.b.begin(), m.b.end(), 0.0f);
  }
  SecurityVectorIdentity identity = Identity();
  identity.sha256 = SecurityVectorDigest(zero);
  EXPECT_THAT(OpenSecurityVector(Key('c'), identity, base_.config(), Sealed(zero)),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("all zero")));
}

TEST_F(SecurityVectorTest, RefusesAnotherBaseModelsVector) {
  SecurityVectorIdentity identity = Identity();
  identity.base_sha256 = std::string(64, 'f');
  EXPECT_THAT(OpenSecurityVector(Key('c'), identity, base_.config(), Sealed(vector_)),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("trained for base model")));
}

TEST_F(SecurityVectorTest, RefusesAnotherKeyAndBrokenBytes) {
  EXPECT_THAT(OpenSecurityVector(Key('e'), Identity(), base_.config(), Sealed(vector_)),
              StatusIs(absl::StatusCode::kPermissionDenied));
  WT_ASSERT_OK_AND_ASSIGN(std::string plain, SerializeSecurityVector(vector_));
  plain.resize(plain.size() / 2);
  EXPECT_THAT(ParseSecurityVector(base_.config(), plain), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(ParseSecurityVector(base_.config(), ""), StatusIs(absl::StatusCode::kDataLoss));
}

}  // namespace
}  // namespace wardtune
