// A version that is added to an older one: its file is the sum of both.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/status_matchers.h"
#include "worker/agent/testing/agent_fixture.h"
#include "worker/security/sum_vectors.h"

namespace wardtune {
namespace {

using ::testing::SizeIs;
using ::wardtune::testing::AgentTest;
using ::wardtune::testing::Artifact;
using ::wardtune::testing::Inputs;
using ::wardtune::testing::kVersion;

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
  EXPECT_EQ(sum.guard.rows.size(), first.guard.rows.size() + alone.guard.rows.size());
  EXPECT_NE(sum.recipe_sha256, alone.recipe_sha256);
  EXPECT_THAT(sum.canaries.prompts, SizeIs(8));

  // The sum trains jobs as any version does.
  vector_result_ = server_.completed()->security_vector();
  sealed_ = server_.artifact(Artifact::KIND_SECURITY_VECTOR);
  v1::Lease job = JobLease(1);
  job.mutable_fine_tuning()->set_security_vector_version(kSecond);
  ASSERT_NO_FATAL_FAILURE(RunJob(job, JobInputs()));
  EXPECT_TRUE(server_.completed().has_value()) << log_text_.str();
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
