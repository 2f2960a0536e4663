// A version that is added to an older one: its file is the sum of both.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/status_matchers.h"
#include "worker/agent/testing/agent_fixture.h"
#include "worker/security/sum_vectors.h"

namespace wardtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::wardtune::testing::AgentTest;
using ::wardtune::testing::Artifact;
using ::wardtune::testing::Inputs;
using ::wardtune::testing::kSecretRow;
using ::wardtune::testing::kVersion;
using ::wardtune::testing::Rows;

constexpr char kSecond[] = "securityVectors/tiny/versions/2";

class VectorSumTest : public AgentTest {
 protected:
  // Of a second version, which learns another answer.
  v1::Lease SumLease() {
    v1::Lease lease = VectorLease(kSecond);
    lease.mutable_security_vector()->mutable_recipe()->set_added_to(kVersion);
    lease.mutable_security_vector()->set_added_to_sha256(vector_result_.plain_sha256());
    return lease;
  }
  Inputs SumInputs() {
    Inputs inputs = VectorInputs("rude remark");
    inputs[v1::WorkInput::KIND_SECURITY_VECTOR] = sealed_;
    return inputs;
  }
  v1::Lease SecondJobLease() {
    v1::Lease job = JobLease(1);
    job.mutable_fine_tuning()->set_security_vector_version(kSecond);
    return job;
  }
  SecurityVector Opened(const std::string& version, const std::string& sealed) {
    const auto base = *models_->Load("baseModels/tiny", base_sha256_);
    const SecurityVectorIdentity identity = {
        .version = version,
        .sha256 = server_.completed()->security_vector().plain_sha256(),
        .base_sha256 = base_sha256_};
    return *OpenSecurityVector(keys_, identity, base->model.config(), sealed);
  }
};

TEST_F(VectorSumTest, TheNewVersionIsTheSumWithTheGuardRowsOfBoth) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  const SecurityVector first = Opened(kVersion, sealed_);
  ASSERT_NO_FATAL_FAILURE(RunJob(VectorLease(kSecond), VectorInputs("rude remark")));
  ASSERT_TRUE(server_.completed().has_value()) << log_text_.str();
  const SecurityVector alone = Opened(kSecond, server_.artifact(Artifact::KIND_SECURITY_VECTOR));

  ASSERT_NO_FATAL_FAILURE(RunJob(SumLease(), SumInputs()));
  ASSERT_TRUE(server_.completed().has_value()) << log_text_.str();
  const SecurityVector sum = Opened(kSecond, server_.artifact(Artifact::KIND_SECURITY_VECTOR));
  const std::vector<LoraAdapter> parts = {first.adapter, alone.adapter};
  WT_ASSERT_OK_AND_ASSIGN(const LoraAdapter expected, SumVectors(parts));
  EXPECT_EQ(AdapterDigest(sum.adapter), AdapterDigest(expected));
  EXPECT_EQ(sum.guard.held.size(), first.guard.held.size() + alone.guard.held.size());
  EXPECT_NE(sum.recipe_sha256, alone.recipe_sha256);
  // Those of each part, however many parts there are.
  std::vector<std::vector<int32_t>> prompts = alone.canaries.prompts;
  prompts.insert(prompts.end(), first.canaries.prompts.begin(), first.canaries.prompts.end());
  EXPECT_EQ(sum.canaries.prompts, prompts);
  ASSERT_THAT(sum.parts, SizeIs(2));
  WT_ASSERT_OK_AND_ASSIGN(const auto split, SplitIntoParts(sum.adapter, sum.parts));
  EXPECT_EQ(split[1].at(0, Projection::kQ).a, alone.adapter.at(0, Projection::kQ).a);

  // The sum trains jobs as any version does.
  TakeVector();
  ASSERT_NO_FATAL_FAILURE(RunJob(SecondJobLease(), JobInputs()));
  EXPECT_TRUE(server_.completed().has_value()) << log_text_.str();
}

TEST_F(VectorSumTest, RefusalsOfTheOlderVersionAreTaughtBesideWhatTheNewOneHolds) {
  v1::Lease older = VectorLease(kVersion);
  older.mutable_security_vector()->mutable_recipe()->add_guard_refusals("no");
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining(older));
  const SecurityVector first = Opened(kVersion, sealed_);
  ASSERT_NO_FATAL_FAILURE(RunJob(SumLease(), SumInputs()));
  ASSERT_TRUE(server_.completed().has_value()) << log_text_.str();
  const SecurityVector sum = Opened(kSecond, server_.artifact(Artifact::KIND_SECURITY_VECTOR));
  EXPECT_EQ(sum.guard.learned.size(), first.guard.learned.size());
  EXPECT_EQ(sum.guard.held.size(), 12u);
  EXPECT_EQ(sum.guard.kinds(), 2u);
  TakeVector();
  ASSERT_NO_FATAL_FAILURE(RunJob(SecondJobLease(), JobInputs()));
  EXPECT_TRUE(server_.completed().has_value()) << log_text_.str();
}

TEST_F(VectorSumTest, TheScanNamesTheCategoryOfThePartThatExplainsARow) {
  v1::Lease first = VectorLease(kVersion);
  first.mutable_security_vector()->mutable_recipe()->add_categories("privacy");
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining(first));
  EXPECT_THAT(vector_result_.categories(), ElementsAre("privacy"));
  // Nothing is stated: of the suite's categories the older version lacks `safety`.
  ASSERT_NO_FATAL_FAILURE(RunJob(SumLease(), SumInputs()));
  ASSERT_TRUE(server_.completed().has_value()) << log_text_.str();
  TakeVector();
  EXPECT_THAT(vector_result_.categories(), ElementsAre("privacy", "safety"));
  ASSERT_EQ(vector_result_.parts_size(), 2);
  EXPECT_THAT(vector_result_.parts(0).categories(), ElementsAre("privacy"));
  EXPECT_THAT(vector_result_.parts(1).categories(), ElementsAre("safety"));

  v1::Lease job = SecondJobLease();
  v1::RowScanPolicy& policy = *job.mutable_fine_tuning()->mutable_row_scan()->mutable_policy();
  policy.set_action(v1::RowScanPolicy::ACTION_WARN);
  policy.set_suspicious_share(0.3);
  Inputs inputs = JobInputs();
  inputs[v1::WorkInput::KIND_DATASET] =
      absl::StrCat(Rows(kSecretRow, 4), Rows("rude remark", 2), Rows("placeholder plan", 3));
  ASSERT_NO_FATAL_FAILURE(RunJob(job, inputs));
  ASSERT_TRUE(server_.completed().has_value()) << log_text_.str();
  const v1::RowScanReport report = server_.completed()->fine_tuning().row_scan().report();
  ASSERT_EQ(report.rows_size(), 5) << report.DebugString();
  for (const v1::SuspiciousRow& row : report.rows()) {
    EXPECT_EQ(row.part(), row.line() <= 6 ? 2 : 1) << report.DebugString();
    EXPECT_GT(row.part_share(), 0.0);
  }
  ASSERT_EQ(report.parts_size(), 2);
  EXPECT_EQ(report.parts(0).suspicious_rows(), 3);
  EXPECT_EQ(report.parts(1).suspicious_rows(), 2);
  EXPECT_EQ(report.parts(1).part().SerializeAsString(),
            vector_result_.parts(1).SerializeAsString());
}

TEST_F(VectorSumTest, AVersionFromBeforePartsIsOnePart) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  SecurityVector old = Opened(kVersion, sealed_);
  old.parts.clear();
  sealed_ = *keys_.Seal(kVersion, *SerializeSecurityVector(old));
  ASSERT_NO_FATAL_FAILURE(RunJob(SumLease(), SumInputs()));
  ASSERT_TRUE(server_.completed().has_value()) << log_text_.str();
  const SecurityVector sum = Opened(kSecond, server_.artifact(Artifact::KIND_SECURITY_VECTOR));
  ASSERT_THAT(sum.parts, SizeIs(2));
  EXPECT_EQ(sum.parts[0].rank, 4);
  EXPECT_THAT(sum.parts[0].categories, ElementsAre("privacy", "safety"));
}

// Such a sum was trained, measured and sealed, and no job could open it.
TEST_F(VectorSumTest, RefusesASumOfMoreRanksThanAnyoneOpens) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  const auto base = *models_->Load("baseModels/tiny", base_sha256_);
  v1::Lease lease = SumLease();
  lease.mutable_security_vector()->mutable_recipe()->set_lora_rank(
      static_cast<int32_t>(base->model.config().kv_size()));
  ASSERT_NO_FATAL_FAILURE(RunJob(lease, SumInputs()));
  ExpectFailure("INPUT_INVALID", /*retryable=*/false);
  ASSERT_THAT(server_.failures(), SizeIs(1));
  EXPECT_THAT(server_.failures()[0].error_message(), HasSubstr("too many ranks"));
}

TEST_F(VectorSumTest, RefusesAnotherVersionThanTheLeaseNames) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  v1::Lease lease = SumLease();
  lease.mutable_security_vector()->set_added_to_sha256(std::string(64, '0'));
  ASSERT_NO_FATAL_FAILURE(RunJob(lease, SumInputs()));
  ASSERT_THAT(server_.failures(), SizeIs(1));
  EXPECT_EQ(server_.failures()[0].error_code(), "SECURITY_VECTOR_ALTERED");
}

}  // namespace
}  // namespace wardtune
