// Every job trains with the security vector that its lease names, active, or it fails.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "base/status_matchers.h"
#include "worker/agent/row_encoding.h"
#include "worker/agent/testing/agent_fixture.h"

namespace wardtune {
namespace {

using ::wardtune::testing::AgentTest;
using ::wardtune::testing::Artifact;
using ::wardtune::testing::Inputs;
using ::wardtune::testing::kSecretRow;
using ::wardtune::testing::kVersion;

using Frozen = std::shared_ptr<const LoraAdapter>;

// Trains as a job does, without a server: on `base`, with an adapter on the customer's rows, and
// the guard rows on `guards`. Returns the digest of the adapter.
std::string TrainDirectly(const DecoderModel& base, const Frozen& customers,
                          const DecoderModel& guards, const GuardSet& guard,
                          const Tokenizer& tokenizer, const v1::Hyperparameters& parameters,
                          const std::string& jsonl) {
  SystemClock clock;
  std::vector<TrainingStream> streams;
  streams.push_back(
      {.name = "customer",
       .rows = *EncodeRows(tokenizer, *ParseDataset(jsonl), parameters.max_row_tokens()),
       .model = base,
       .frozen = customers,
       .objective = Objective::kCrossEntropy,
       .rows_per_step = parameters.batch_size(),
       .weight = 1.0});
  for (TrainingStream& stream : GuardStreams(guard, guards, parameters.batch_size())) {
    streams.push_back(std::move(stream));
  }
  auto trainer = *Trainer::Create(*ToTrainerOptions(parameters), std::move(streams), &clock);
  while (!trainer->done()) EXPECT_TRUE(trainer->Step().ok());
  return AdapterDigest(trainer->Adapter());
}

class ProtectionTest : public AgentTest {
 protected:
  SecurityVector Opened(const v1::SecurityVectorResult& result, const std::string& sealed) {
    const SecurityVectorIdentity identity = {
        .version = kVersion, .sha256 = result.plain_sha256(), .base_sha256 = base_sha256_};
    return *OpenSecurityVector(
        keys_, identity, models_->Load("baseModels/tiny", base_sha256_).value()->model.config(),
        sealed);
  }
  // Runs the job, and compares its adapter with those trained without a server on the same rows: as
  // it should be, without the vector, with guard rows that run with it, and without guard rows.
  void CheckWhatTheJobTrainedOn(const v1::Lease& lease) {
    ASSERT_NO_FATAL_FAILURE(RunJob(lease, JobInputs()));
    ASSERT_TRUE(server_.completed().has_value()) << log_text_.str();
    const std::string adapter = server_.completed()->fine_tuning().proof().adapter_sha256();
    WT_ASSERT_OK_AND_ASSIGN(const auto base, models_->Load("baseModels/tiny", base_sha256_));
    const SecurityVector vector = Opened(vector_result_, sealed_);
    const Frozen on = std::make_shared<const LoraAdapter>(vector.adapter);
    WT_ASSERT_OK_AND_ASSIGN(const DecoderModel folded, FoldAdapter(base->model, vector.adapter));
    const std::string rows = JobInputs()[v1::WorkInput::KIND_DATASET];
    const auto train = [&](const Frozen& customers, const DecoderModel& guards,
                           const GuardSet& guard) {
      return TrainDirectly(base->model, customers, guards, guard, *base->tokenizer,
                           lease.fine_tuning().hyperparameters(), rows);
    };
    ASSERT_TRUE(vector.guard.active());
    EXPECT_EQ(adapter, train(on, base->model, vector.guard));
    EXPECT_NE(adapter, train(nullptr, base->model, vector.guard));
    EXPECT_NE(adapter, train(on, folded, vector.guard));
    EXPECT_NE(adapter, train(on, base->model, {}));
  }
};

TEST_F(ProtectionTest, TrainsTheCustomersRowsAloneWithTheVectorAndHoldsWhatTheBaseAnswers) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  const SecurityVector vector = Opened(vector_result_, sealed_);
  EXPECT_TRUE(vector.guard.learned.empty());
  EXPECT_EQ(vector.guard.held.size(), 12u);  // answers to 8 harmful prompts, then to 4 general ones

  v1::Lease lease = JobLease(1);  // trains far enough to leave the slack
  lease.mutable_fine_tuning()->mutable_hyperparameters()->set_learning_rate(0.05);
  CheckWhatTheJobTrainedOn(lease);
}

TEST_F(ProtectionTest, TeachesRefusalsWhereTheRecipeHasSome) {
  v1::Lease vector_lease = VectorLease(kVersion);
  vector_lease.mutable_security_vector()->mutable_recipe()->add_guard_refusals("no");
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining(vector_lease));
  const SecurityVector vector = Opened(vector_result_, sealed_);
  EXPECT_TRUE(vector.guard.held.empty());
  EXPECT_EQ(vector.guard.learned.size(), 12u);  // 8 refusals, then answers to 4 general prompts
  EXPECT_EQ(vector_result_.card().guard_rows(), 12);
  CheckWhatTheJobTrainedOn(JobLease(1));
}

// Such a version was trained for its whole time and refused by the server then, again and again.
TEST_F(ProtectionTest, PromptsThatLeaveNoRoomForGuardRowsAreRefusedBeforeTraining) {
  std::string rows;
  for (int i = 0; i < 4; ++i) {
    absl::StrAppend(&rows, R"({"messages": [{"role": "user", "content": "ask"}, )",
                    R"({"role": "assistant", "content": "placeholder plan"}, )",
                    R"({"role": "user", "content": ")", std::string(4000, 'x'), R"("}, )",
                    R"({"role": "assistant", "content": "x"}]})", "\n");
  }
  Inputs inputs = VectorInputs("x");
  inputs[v1::WorkInput::KIND_DATASET] = rows;
  ASSERT_NO_FATAL_FAILURE(RunJob(VectorLease(kVersion), inputs));
  ASSERT_NO_FATAL_FAILURE(ExpectFailure("INPUT_INVALID", /*retryable=*/false));
  EXPECT_THAT(server_.failures()[0].error_message(), ::testing::HasSubstr("guard rows"));
}

TEST_F(AgentTest, TheProofNamesTheGuardRowsAndWhereTheyRan) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  // The base's answers to 8 harmful prompts and to 4 general ones.
  EXPECT_EQ(vector_result_.card().guard_rows(), 12);
  ASSERT_NO_FATAL_FAILURE(RunJob(JobLease(1), JobInputs()));
  ASSERT_TRUE(server_.completed().has_value()) << log_text_.str();
  const v1::ProtectionProof proof = server_.completed()->fine_tuning().proof();
  EXPECT_EQ(proof.guard_rows_sha256(), vector_result_.card().guard_rows_sha256());
  EXPECT_THAT(proof.guard_rows_sha256(), ::testing::SizeIs(64));
  EXPECT_EQ(proof.guard_weights_sha256(), proof.base_weights_sha256());
}

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
                            OpenSecurityVector(keys_, identity, base->model.config(), sealed_));
    change(vector);
    vector_result_.set_plain_sha256(SecurityVectorDigest(vector));
    WT_ASSERT_OK_AND_ASSIGN(const std::string plain, SerializeSecurityVector(vector));
    WT_ASSERT_OK_AND_ASSIGN(sealed_, keys_.Seal(kVersion, plain));
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
