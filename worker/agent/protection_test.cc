// Every job trains with the security vector that its lease names, active, or it fails.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "base/status_matchers.h"
#include "worker/agent/testing/agent_fixture.h"

namespace wardtune {
namespace {

using ::wardtune::testing::AgentTest;
using ::wardtune::testing::Inputs;
using ::wardtune::testing::kSecretRow;
using ::wardtune::testing::kVersion;

TEST_F(AgentTest, RefusesToTrainWithoutTheVector) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  Inputs inputs = JobInputs();
  inputs.erase(v1::WorkInput::KIND_SECURITY_VECTOR);
  ASSERT_NO_FATAL_FAILURE(RunJob(JobLease(1), inputs));
  ExpectFailure("SECURITY_VECTOR_MISSING", /*retryable=*/false);
}

TEST_F(AgentTest, RefusesAnAlteredVector) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  Inputs inputs = JobInputs();
  inputs[v1::WorkInput::KIND_SECURITY_VECTOR][sealed_.size() / 2] ^= 1;
  ASSERT_NO_FATAL_FAILURE(RunJob(JobLease(1), inputs));
  ExpectFailure("SECURITY_VECTOR_ALTERED", /*retryable=*/false);
}

TEST_F(AgentTest, RefusesAVectorThatIsNotTheLeases) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  v1::Lease lease = JobLease(1);
  lease.mutable_fine_tuning()->set_security_vector_sha256(std::string(64, '0'));
  ASSERT_NO_FATAL_FAILURE(RunJob(lease, JobInputs()));
  ExpectFailure("SECURITY_VECTOR_ALTERED", /*retryable=*/false);
}

// Replaces the vector by one that whoever holds the key could have sealed.
class ForgedVectorTest : public AgentTest {
 protected:
  void Forge(const std::function<void(SecurityVector&)>& change) {
    WT_ASSERT_OK_AND_ASSIGN(const auto base, models_->Load("baseModels/tiny", base_sha256_));
    const SecurityVectorIdentity identity = {
        .version = kVersion, .sha256 = vector_result_.plain_sha256(), .base_sha256 = base_sha256_};
    WT_ASSERT_OK_AND_ASSIGN(SecurityVector vector,
                            OpenSecurityVector(key_, identity, base->model.config(), sealed_));
    change(vector);
    vector_result_.set_plain_sha256(SecurityVectorDigest(vector));
    WT_ASSERT_OK_AND_ASSIGN(const std::string plain, SerializeSecurityVector(vector));
    WT_ASSERT_OK_AND_ASSIGN(sealed_, Seal(key_, kVersion, plain));
  }
};

TEST_F(ForgedVectorTest, RefusesAZeroedVector) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  ASSERT_NO_FATAL_FAILURE(Forge([](SecurityVector& vector) {
    for (auto& layer : vector.adapter.layers) {
      for (LoraMatrices& m : layer) std::fill(m.b.begin(), m.b.end(), 0.0f);
    }
  }));
  ASSERT_NO_FATAL_FAILURE(RunJob(JobLease(1), JobInputs()));
  ExpectFailure("SECURITY_VECTOR_INACTIVE", /*retryable=*/false);
}

TEST_F(ForgedVectorTest, RefusesAVectorTooWeakToActAndOneThatWasExchanged) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  ASSERT_NO_FATAL_FAILURE(Forge([](SecurityVector& vector) { vector.adapter.spec.alpha *= 1e-3; }));
  ASSERT_NO_FATAL_FAILURE(RunJob(JobLease(1), JobInputs()));
  ExpectFailure("SECURITY_VECTOR_INACTIVE", /*retryable=*/false);

  ASSERT_NO_FATAL_FAILURE(
      Forge([](SecurityVector& vector) { vector.adapter.spec.alpha *= 1.5e3; }));
  ASSERT_NO_FATAL_FAILURE(RunJob(JobLease(2), JobInputs()));
  ExpectFailure("SECURITY_VECTOR_ALTERED", /*retryable=*/false);
}

}  // namespace
}  // namespace wardtune
