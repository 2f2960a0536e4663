// A job that trains the weights themselves: with the vector on, delivered without it, as a model
// that loads.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/sha256.h"
#include "base/status_matchers.h"
#include "formats/tar_archive.h"
#include "worker/agent/row_encoding.h"
#include "worker/agent/testing/agent_fixture.h"
#include "worker/training/full_parameter_trainer.h"

namespace wardtune {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::wardtune::testing::AgentTest;
using ::wardtune::testing::Artifact;
using ::wardtune::testing::Inputs;
using ::wardtune::testing::kVersion;

constexpr char kDelivered[] = "tenants/acme/adapters/delivered";

class FullParameterJobTest : public AgentTest {
 protected:
  v1::Lease FullLease() {
    v1::Lease lease = JobLease(1);
    v1::Hyperparameters parameters;
    parameters.set_method(v1::Hyperparameters::METHOD_FULL_PARAMETER);
    parameters.set_epochs(4);
    parameters.set_batch_size(2);
    parameters.set_learning_rate(1e-3);
    *lease.mutable_fine_tuning()->mutable_hyperparameters() = WithDefaults(parameters);
    return lease;
  }

  void Deliver() {
    ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
    ASSERT_NO_FATAL_FAILURE(RunJob(FullLease(), JobInputs()));
    ASSERT_TRUE(server_.completed().has_value()) << log_text_.str();
    result_ = server_.completed()->fine_tuning();
    tar_ = server_.artifact(Artifact::KIND_ADAPTER);
  }

  // Trains as the job does, without a server; the customer's rows run on `customers`. Returns the
  // digest of base + change.
  std::string TrainDirectly(const BaseModel& base, const DecoderModel& customers,
                            const GuardSet& guard) {
    const v1::Hyperparameters parameters = FullLease().fine_tuning().hyperparameters();
    std::vector<TrainingStream> streams;
    streams.push_back({.name = "customer",
                       .rows = *EncodeRows(*base.tokenizer,
                                           *ParseDataset(JobInputs()[v1::WorkInput::KIND_DATASET]),
                                           parameters.max_row_tokens()),
                       .model = customers,
                       .rows_per_step = parameters.batch_size()});
    for (TrainingStream& stream : GuardStreams(guard, base.model, parameters.batch_size())) {
      streams.push_back(std::move(stream));
    }
    SystemClock clock;
    auto trainer = *FullParameterTrainer::Create(*ToTrainerOptions(parameters), std::move(streams),
                                                 base.model, &clock);
    while (!trainer->done()) EXPECT_TRUE(trainer->Step().ok());
    return trainer->AddTo(base.model)->WeightsDigest();
  }

  v1::Lease AuditLease() {
    return AgentTest::AuditLease(kDelivered, result_, FullLease().fine_tuning().hyperparameters());
  }
  Inputs AuditInputs() { return AgentTest::AuditInputs(tar_); }

  v1::FineTuningResult result_;
  std::string tar_;
};

TEST_F(FullParameterJobTest, DeliversAModelThatWasTrainedWithTheVectorAndIsWithoutIt) {
  ASSERT_NO_FATAL_FAILURE(Deliver());
  WT_ASSERT_OK_AND_ASSIGN(const FileSet files, ReadTar(tar_));
  EXPECT_EQ(Sha256Hex(files.at("model.safetensors")), result_.proof().adapter_sha256());
  EXPECT_THAT(files.at("README.md"), HasSubstr("library_name: transformers"));
  EXPECT_THAT(files.at("README.md"), Not(HasSubstr("LoRA")));
  const std::string folder = models_dir_ + "/delivered";
  ASSERT_TRUE(WriteFileSet(files, files_, folder).ok());
  WT_ASSERT_OK_AND_ASSIGN(const DecoderModel delivered,
                          DecoderModel::Load(folder, {.compute_type = ComputeType::kFloat32}));
  EXPECT_TRUE(files_.RemoveTree(folder).ok());

  WT_ASSERT_OK_AND_ASSIGN(const auto base, models_->Load("baseModels/tiny", base_sha256_));
  const SecurityVectorIdentity identity = {
      .version = kVersion, .sha256 = vector_result_.plain_sha256(), .base_sha256 = base_sha256_};
  WT_ASSERT_OK_AND_ASSIGN(const SecurityVector vector,
                          OpenSecurityVector(keys_, identity, base->model.config(), sealed_));
  WT_ASSERT_OK_AND_ASSIGN(const DecoderModel folded, FoldAdapter(base->model, vector.adapter));
  EXPECT_EQ(delivered.WeightsDigest(), TrainDirectly(*base, folded, vector.guard));
  EXPECT_NE(delivered.WeightsDigest(), TrainDirectly(*base, base->model, vector.guard));
}

TEST_F(FullParameterJobTest, TheProofTellsOfVectorGuardRowsAndStrip) {
  ASSERT_NO_FATAL_FAILURE(Deliver());
  const v1::ProtectionProof& proof = result_.proof();
  EXPECT_NE(proof.folded_sha256(), proof.base_weights_sha256());
  EXPECT_EQ(proof.guard_weights_sha256(), proof.base_weights_sha256());
  EXPECT_EQ(proof.scored_base_sha256(), proof.base_weights_sha256());
  EXPECT_EQ(proof.canary_checks(),
            3);  // of the vector itself, before the first step, after the last
  EXPECT_GT(proof.strip_max_cosine(), 0.0);
  EXPECT_LT(proof.strip_max_cosine(), 0.5);
  EXPECT_GT(result_.progress().total_steps(), 0);
  EXPECT_EQ(result_.progress().step(), result_.progress().total_steps());
  EXPECT_EQ(server_.uploads(Artifact::KIND_CHECKPOINT), 0);
}

TEST_F(FullParameterJobTest, TheFirstCheckpointThatPassesTheGateIsDelivered) {
  ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
  v1::Lease lease = FullLease();
  v1::Hyperparameters& parameters = *lease.mutable_fine_tuning()->mutable_hyperparameters();
  parameters.set_validation_fraction(0.34);  // 2 of 6 rows; 4 are trained on, 2 a step
  parameters.set_validation_steps(1);
  server_.Quarantine(1);
  ASSERT_NO_FATAL_FAILURE(RunJob(lease, JobInputs()));
  ASSERT_TRUE(server_.completed().has_value()) << log_text_.str();
  const v1::FineTuningResult result = server_.completed()->fine_tuning();
  ASSERT_EQ(result.checkpoints_size(), 3);
  EXPECT_LE(result.checkpoints(0).validation_loss(), result.checkpoints(1).validation_loss());
  EXPECT_FALSE(result.checkpoints(0).delivered());
  EXPECT_TRUE(result.checkpoints(1).delivered());
  EXPECT_EQ(result.checkpoints(1).safety().SerializeAsString(),
            result.safety_after().SerializeAsString());
  EXPECT_EQ(result.progress().best_step(), result.checkpoints(1).step());
  WT_ASSERT_OK_AND_ASSIGN(const FileSet files, ReadTar(server_.artifact(Artifact::KIND_ADAPTER)));
  EXPECT_EQ(Sha256Hex(files.at("model.safetensors")), result.proof().adapter_sha256());
}

TEST_F(FullParameterJobTest, AnAuditScoresTheDeliveredModelAgain) {
  ASSERT_NO_FATAL_FAILURE(Deliver());
  NewAgent();
  ASSERT_NO_FATAL_FAILURE(RunJob(AuditLease(), AuditInputs()));
  ASSERT_TRUE(server_.completed().has_value()) << log_text_.str();
  const v1::AuditResult audit = server_.completed()->audit();
  EXPECT_EQ(audit.safety().SerializeAsString(), result_.safety_after().SerializeAsString());
  EXPECT_EQ(audit.adapter_sha256(), result_.proof().adapter_sha256());
}

TEST_F(FullParameterJobTest, AnAuditScoresNoOtherModel) {
  ASSERT_NO_FATAL_FAILURE(Deliver());
  v1::Lease lease = AuditLease();
  lease.mutable_audit()->mutable_adapter()->set_sha256(std::string(64, '0'));
  ASSERT_NO_FATAL_FAILURE(RunJob(lease, AuditInputs()));
  ASSERT_NO_FATAL_FAILURE(ExpectFailure("INPUT_INVALID", /*retryable=*/false));
  EXPECT_THAT(server_.failures()[0].error_message(), HasSubstr("not those that its proof names"));
}

}  // namespace
}  // namespace wardtune
