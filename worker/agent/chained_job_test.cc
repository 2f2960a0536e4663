// Jobs that go on from an earlier job's adapter, by the agent.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_matchers.h"
#include "formats/tar_archive.h"
#include "worker/agent/adapter_export.h"
#include "worker/agent/row_encoding.h"
#include "worker/agent/testing/agent_fixture.h"
#include "worker/security/guard_rows.h"

namespace wardtune {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::wardtune::testing::AgentTest;
using ::wardtune::testing::Artifact;
using ::wardtune::testing::Inputs;
using ::wardtune::testing::kSecretRow;
using ::wardtune::testing::kVersion;
using ::wardtune::testing::Rows;

constexpr char kStart[] = "tenants/acme/adapters/first";

class ChainedJobTest : public AgentTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(AgentTest::SetUp());
    ASSERT_NO_FATAL_FAILURE(RunVectorTraining());
    ASSERT_NO_FATAL_FAILURE(RunJob(JobLease(1), JobInputs()));
    ASSERT_TRUE(server_.completed().has_value()) << log_text_.str();
    first_ = server_.completed()->fine_tuning();
    first_tar_ = server_.artifact(Artifact::KIND_ADAPTER);
    WT_ASSERT_OK_AND_ASSIGN(base_, models_->Load("baseModels/tiny", base_sha256_));
  }

  // A job that goes on from the first one's adapter.
  v1::Lease ChainedLease(int attempt) {
    v1::Lease lease = JobLease(attempt);
    v1::FineTuningWork& work = *lease.mutable_fine_tuning();
    work.mutable_start_adapter()->set_name(kStart);
    work.mutable_start_adapter()->set_sha256(first_.proof().adapter_sha256());
    work.mutable_start_adapter()->set_base_sha256(first_.proof().base_sha256());
    work.set_chain_length(2);
    return lease;
  }
  Inputs ChainedInputs() {
    Inputs inputs = JobInputs();
    inputs[v1::WorkInput::KIND_START_ADAPTER] = first_tar_;
    return inputs;
  }
  v1::FineTuningResult RunToResult(const v1::Lease& lease, Inputs inputs) {
    RunJob(lease, std::move(inputs));
    EXPECT_TRUE(server_.completed().has_value()) << log_text_.str();
    return server_.completed().value_or(v1::CompleteJobRequest()).fine_tuning();
  }
  LoraAdapter AdapterIn(const std::string& tar) {
    return ParseAdapterTar(tar, base_->model.config()).value();
  }
  // The failure must come before training, and tell what is wrong.
  void ExpectUnfit(const v1::Lease& lease, Inputs inputs, const std::string& why) {
    ASSERT_NO_FATAL_FAILURE(RunJob(lease, std::move(inputs)));
    ASSERT_NO_FATAL_FAILURE(ExpectFailure("INPUT_INVALID", /*retryable=*/false));
    EXPECT_THAT(server_.failures()[0].error_message(), AllOf(HasSubstr(kStart), HasSubstr(why)));
    EXPECT_EQ(server_.uploads(Artifact::KIND_CHECKPOINT), 0);
  }

  // The engine's own run of the lease's job from `start`, on the weights that the agent trains on.
  struct EngineRun {
    std::vector<double> losses;  // of the customer's rows, by step
    LoraAdapter adapter;
  };
  EngineRun RunEngine(const v1::Lease& lease, std::optional<LoraAdapter> start) {
    const SecurityVectorIdentity identity = {
        .version = kVersion, .sha256 = vector_result_.plain_sha256(), .base_sha256 = base_sha256_};
    const SecurityVector vector =
        OpenSecurityVector(keys_, identity, base_->model.config(), sealed_).value();
    const v1::Hyperparameters& parameters = lease.fine_tuning().hyperparameters();
    TrainerOptions options = ToTrainerOptions(parameters).value();
    options.start = std::move(start);
    std::vector<TrainingStream> streams;
    streams.push_back(
        {.name = "customer",
         .rows = EncodeDataset(*base_->tokenizer, Rows(kSecretRow, 6), parameters.max_row_tokens())
                     .value()
                     .rows,
         .model = base_->model,
         .frozen = std::make_shared<const LoraAdapter>(vector.adapter),
         .rows_per_step = parameters.batch_size()});
    for (TrainingStream& stream :
         GuardStreams(vector.guard, base_->model, parameters.batch_size())) {
      streams.push_back(std::move(stream));
    }
    auto trainer = Trainer::Create(options, std::move(streams), &clock_).value();
    EngineRun run;
    while (!trainer->done()) run.losses.push_back(trainer->Step().value().stream_losses[0]);
    run.adapter = trainer->Adapter();
    return run;
  }

  v1::FineTuningResult first_;
  std::string first_tar_;
  std::shared_ptr<const BaseModel> base_;
};

TEST_F(ChainedJobTest, GoesOnWhereTheFirstJobEnded) {
  // One step of all rows, so that the loss it reports is the first one.
  v1::Lease lease = ChainedLease(1);
  v1::Hyperparameters& parameters = *lease.mutable_fine_tuning()->mutable_hyperparameters();
  parameters.set_epochs(1);
  parameters.set_batch_size(6);
  const v1::FineTuningResult one = RunToResult(lease, ChainedInputs());
  EXPECT_EQ(one.progress().total_steps(), 1);
  const EngineRun expected = RunEngine(lease, AdapterIn(first_tar_));
  EXPECT_EQ(one.progress().loss(), expected.losses[0]);
  const EngineRun fresh = RunEngine(lease, std::nullopt);
  EXPECT_LT(expected.losses[0], fresh.losses[0]) << "what the first job taught is there";

  const v1::FineTuningResult whole = RunToResult(ChainedLease(2), ChainedInputs());
  const EngineRun engine = RunEngine(ChainedLease(2), AdapterIn(first_tar_));
  EXPECT_EQ(whole.progress().loss(), engine.losses.back());
  EXPECT_EQ(whole.proof().adapter_sha256(), AdapterDigest(engine.adapter));
  EXPECT_NE(whole.proof().adapter_sha256(), first_.proof().adapter_sha256());
}

TEST_F(ChainedJobTest, ProofAndCardNameTheStartWhoseScoreIsTold) {
  EXPECT_EQ(first_.proof().start_adapter(), "");
  EXPECT_FALSE(first_.has_safety_start());
  const v1::FineTuningResult result = RunToResult(ChainedLease(1), ChainedInputs());
  const v1::ProtectionProof& proof = result.proof();
  EXPECT_EQ(proof.start_adapter(), kStart);
  EXPECT_EQ(proof.start_adapter_sha256(), first_.proof().adapter_sha256());
  EXPECT_EQ(proof.chain_length(), 2);
  EXPECT_LE(proof.strip_max_cosine(), 0.5);
  EXPECT_GE(proof.canary_checks(), 5);
  EXPECT_EQ(result.safety_before().SerializeAsString(), first_.safety_before().SerializeAsString());
  EXPECT_EQ(result.safety_start().SerializeAsString(), first_.safety_after().SerializeAsString());
  WT_ASSERT_OK_AND_ASSIGN(const FileSet files, ReadTar(server_.artifact(Artifact::KIND_ADAPTER)));
  EXPECT_THAT(files.at("README.md"),
              AllOf(HasSubstr(absl::StrCat("Start adapter | ", kStart)),
                    HasSubstr(first_.proof().adapter_sha256()),
                    HasSubstr("Jobs that made it, one after the other | 2")));
}

// With an adapter that answers otherwise than the base, the two scores differ.
TEST_F(ChainedJobTest, ScoresTheBaseAndWhatTheCustomerHad) {
  const LoraSpec spec = ToTrainerOptions(JobLease(1).fine_tuning().hyperparameters()).value().lora;
  LoraAdapter strong = InitLora(base_->model.config(), spec, 7).value();
  for (auto& layer : strong.layers) {
    for (LoraMatrices& m : layer) {
      for (size_t i = 0; i < m.b.size(); ++i) m.b[i] = i % 2 == 0 ? 2.0f : -3.0f;
    }
  }
  // The rule finds a character that only the adapter's answers have.
  const auto answers = [&](ActiveAdapters adapters) {
    const std::vector<std::string> prompts = {"held out 0", "held out 1", "held out 2",
                                              "held out 3"};
    return absl::StrJoin(AnswerPrompts(base_->model, adapters, *base_->tokenizer, prompts,
                                       environment_->sampling, nullptr)
                             .value(),
                         "");
  };
  const LoraAdapter* const active[] = {&strong};
  const std::string own = answers({});
  std::string found;
  for (const char c : answers(active)) {
    if (c > ' ' && c <= '~' && own.find(c) == std::string::npos) found = std::string(1, c);
  }
  ASSERT_NE(found, "") << "choose another adapter";
  Inputs inputs = ChainedInputs();
  inputs[v1::WorkInput::KIND_SUITE_RULES] =
      absl::StrCat(R"({"version": 1, "harmful_patterns": ["\\x)", absl::Hex(found[0]), "\"]}");
  inputs[v1::WorkInput::KIND_START_ADAPTER] = ExportAdapter(strong, {}).value();
  v1::Lease lease = ChainedLease(1);
  lease.mutable_fine_tuning()->mutable_start_adapter()->set_sha256(AdapterDigest(strong));
  const v1::FineTuningResult result = RunToResult(lease, inputs);
  EXPECT_EQ(result.safety_before().categories().rbegin()->harmful(), 0);
  EXPECT_GT(result.safety_start().categories().rbegin()->harmful(), 0);
}

TEST_F(ChainedJobTest, ResumesToTheSameBytesAndFromItsOwnStartAlone) {
  RunToResult(ChainedLease(1), ChainedInputs());
  const std::string uninterrupted = server_.artifact(Artifact::KIND_ADAPTER);

  server_.Offer(ChainedLease(2), ChainedInputs());
  int checkpoints = 0;
  server_.OnUpload([&](const Artifact::Header&) {
    if (++checkpoints == 2) agent_->Stop();
    return grpc::Status::OK;
  });
  ASSERT_NO_FATAL_FAILURE(RunOffered());
  ExpectFailure("WORKER_STOPPING", /*retryable=*/true);
  const std::string checkpoint = server_.artifact(Artifact::KIND_CHECKPOINT);

  WorkerClient client({.server = server_.address(), .worker_id = "worker-2"}, clock_);
  Agent second(client, *environment_, log_, clock_);
  Inputs inputs = ChainedInputs();
  inputs[v1::WorkInput::KIND_CHECKPOINT] = checkpoint;
  server_.Offer(ChainedLease(3), inputs);
  WT_ASSERT_OK(second.RunOne(absl::Seconds(1)));
  EXPECT_THAT(log_text_.str(), HasSubstr("\"event\": \"resumed\""));
  EXPECT_THAT(log_text_.str(), Not(HasSubstr("checkpoint_unusable")));
  EXPECT_EQ(server_.artifact(Artifact::KIND_ADAPTER), uninterrupted);

  // The same job from the base, or from another adapter, begins anew.
  Inputs unchained = JobInputs();
  unchained[v1::WorkInput::KIND_CHECKPOINT] = checkpoint;
  server_.Offer(JobLease(4), unchained);
  WT_ASSERT_OK(second.RunOne(absl::Seconds(1)));
  EXPECT_THAT(log_text_.str(), HasSubstr("checkpoint_unusable"));
  EXPECT_EQ(server_.artifact(Artifact::KIND_ADAPTER), first_tar_);
  log_text_.str("");
  v1::Lease from_second = ChainedLease(5);
  from_second.mutable_fine_tuning()->mutable_start_adapter()->set_sha256(
      AdapterDigest(AdapterIn(uninterrupted)));
  inputs[v1::WorkInput::KIND_START_ADAPTER] = uninterrupted;
  server_.Offer(from_second, inputs);
  WT_ASSERT_OK(second.RunOne(absl::Seconds(1)));
  EXPECT_THAT(log_text_.str(), HasSubstr("checkpoint_unusable"));
  EXPECT_TRUE(server_.completed().has_value());
}

TEST_F(ChainedJobTest, ValidatesStopsEarlyAndScansAsAnyJob) {
  v1::Lease lease = ChainedLease(1);
  v1::FineTuningWork& work = *lease.mutable_fine_tuning();
  work.mutable_hyperparameters()->set_validation_fraction(0.34);
  work.mutable_hyperparameters()->set_validation_steps(1);
  work.mutable_hyperparameters()->set_early_stopping_patience(1);
  work.mutable_row_scan()->mutable_policy()->set_action(v1::RowScanPolicy::ACTION_WARN);
  server_.Quarantine(1);
  const v1::FineTuningResult result = RunToResult(lease, ChainedInputs());
  EXPECT_GT(result.progress().best_validation_loss(), 0.0);
  EXPECT_EQ(result.proof().rows_scanned(), 6);
  EXPECT_EQ(result.proof().start_adapter(), kStart);
  ASSERT_GE(result.checkpoints_size(), 1);
  EXPECT_EQ(result.proof().guard_weights_sha256(), result.proof().base_weights_sha256());
}

TEST_F(ChainedJobTest, TakesNoStartThatIsNotTheNamedOne) {
  const std::string begin = first_tar_.substr(0, first_tar_.size() / 2);
  Inputs inputs = ChainedInputs();
  inputs[v1::WorkInput::KIND_START_ADAPTER] = begin;
  ASSERT_NO_FATAL_FAILURE(ExpectUnfit(ChainedLease(1), inputs, "bad archive"));

  v1::Lease lease = ChainedLease(2);
  lease.mutable_fine_tuning()->mutable_start_adapter()->set_sha256(std::string(64, '0'));
  ASSERT_NO_FATAL_FAILURE(ExpectUnfit(lease, ChainedInputs(), "not those that its proof names"));

  lease = ChainedLease(3);
  lease.mutable_fine_tuning()->mutable_hyperparameters()->set_lora_rank(1);
  ASSERT_NO_FATAL_FAILURE(ExpectUnfit(lease, ChainedInputs(), "not those of the hyperparameters"));

  inputs[v1::WorkInput::KIND_START_ADAPTER] = std::string(5 << 20, '\0');
  ASSERT_NO_FATAL_FAILURE(ExpectUnfit(ChainedLease(4), inputs, "is larger than"));

  ASSERT_NO_FATAL_FAILURE(RunJob(ChainedLease(5), JobInputs()));
  ExpectFailure("INPUT_MISSING", /*retryable=*/false);
}

TEST_F(ChainedJobTest, TakesNoStartOfOtherFilesOfTheBaseModel) {
  v1::Lease lease = ChainedLease(1);
  const std::string other(64, '0');
  lease.mutable_fine_tuning()->mutable_start_adapter()->set_base_sha256(other);
  ASSERT_NO_FATAL_FAILURE(RunJob(lease, ChainedInputs()));
  ASSERT_NO_FATAL_FAILURE(ExpectFailure("BASE_MODEL_MISMATCH", /*retryable=*/false));
  EXPECT_THAT(server_.failures()[0].error_message(),
              AllOf(HasSubstr(kStart), HasSubstr(other), HasSubstr(base_sha256_)));
  EXPECT_EQ(server_.uploads(Artifact::KIND_CHECKPOINT), 0);
}

}  // namespace
}  // namespace wardtune
