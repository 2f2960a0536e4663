// Jobs that go on from an earlier job's adapter: what is refused, what the worker gets, and what
// its result must tell.
#include <string>
#include <utility>

#include "base/sha256.h"
#include "server/testing/server_fixture.h"

namespace wardtune {
namespace {

using ::testing::AllOf;
using testing::FailsWith;
using ::testing::HasSubstr;
using testing::Outcome;
using testing::Succeeds;
using Jobs = v1::FineTuningService::Stub;
using Admin = v1::AdminService::Stub;

constexpr char kChainRequestId[] = "0a1b2c3d-0000-4000-8000-000000000001";
constexpr char kNewConfig[] =
    R"({"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 128})";

class ChainedJobRpcsTest : public testing::ServerFixture {
 protected:
  void Start() {
    StartServer();
    AddTenants();
    ActivateVector();
  }

  v1::CreateFineTuningJobRequest RequestFrom(const std::string& start) {
    v1::CreateFineTuningJobRequest request = JobRequest(AddReadyDataset(acme_key_));
    request.set_start_adapter(start);
    return request;
  }
  Outcome Create(const v1::CreateFineTuningJobRequest& request, v1::FineTuningJob* job = nullptr) {
    v1::CreateFineTuningJobResponse response;
    const Outcome outcome = Call(&Jobs::CreateFineTuningJob, acme_key_, request, response);
    if (job != nullptr) *job = response.job();
    return outcome;
  }

  // Ends the oldest queued job with a result of which `harmful` of 10 answers are harmful.
  v1::FineTuningJob End(int32_t harmful = 0) {
    const v1::Lease lease = LeaseWork();
    const std::string artifact = "adapter of " + lease.work();
    EXPECT_THAT(UploadArtifact(lease, v1::UploadArtifactRequest::KIND_ADAPTER, artifact),
                Succeeds());
    v1::CompleteJobRequest result = GoodResult(lease, artifact);
    SetHarmful(*result.mutable_fine_tuning()->mutable_safety_after(), harmful);
    EXPECT_THAT(Complete(result), Succeeds());
    return GetJob(acme_key_, lease.work());
  }
  // The adapter of a job that went on from `start`, or from the base when that is empty.
  std::string AdapterFrom(const std::string& start, int32_t harmful = 0) {
    EXPECT_THAT(Create(RequestFrom(start)), Succeeds());
    return End(harmful).adapter();
  }
  v1::Adapter GetAdapter(const std::string& name) {
    v1::GetAdapterRequest request;
    request.set_name(name);
    v1::GetAdapterResponse response;
    EXPECT_THAT(Call(&v1::AdapterService::Stub::GetAdapter, acme_key_, request, response),
                Succeeds());
    return response.adapter();
  }
};

TEST_F(ChainedJobRpcsTest, AWholeModelIsNoStart) {
  Start();
  v1::CreateFineTuningJobRequest request = JobRequest(AddReadyDataset(acme_key_));
  request.mutable_hyperparameters()->set_method(v1::Hyperparameters::METHOD_FULL_PARAMETER);
  ASSERT_THAT(Create(request), Succeeds());
  const std::string model = End().adapter();
  EXPECT_EQ(GetAdapter(model).method(), v1::Hyperparameters::METHOD_FULL_PARAMETER);
  const Outcome refused = Create(RequestFrom(model));
  EXPECT_THAT(refused, FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(refused.message, HasSubstr("start_adapter: is a whole model"));

  ASSERT_THAT(Create(JobRequest(AddReadyDataset(acme_key_))), Succeeds());
  const std::string adapter = End().adapter();
  EXPECT_EQ(GetAdapter(adapter).method(), v1::Hyperparameters::METHOD_LORA);
  request = RequestFrom(adapter);
  request.mutable_hyperparameters()->set_method(v1::Hyperparameters::METHOD_FULL_PARAMETER);
  EXPECT_THAT(Create(request).message, HasSubstr("must be METHOD_LORA with a start adapter"));
}

TEST_F(ChainedJobRpcsTest, AJobTakesOverTheShapeOfItsStartAndShowsTheChain) {
  Start();
  v1::CreateFineTuningJobRequest first = JobRequest(AddReadyDataset(acme_key_));
  first.mutable_hyperparameters()->set_lora_rank(8);
  first.mutable_hyperparameters()->set_lora_alpha(4);
  first.mutable_hyperparameters()->add_target_modules("v_proj");
  first.mutable_hyperparameters()->add_target_modules("q_proj");
  v1::FineTuningJob job;
  ASSERT_THAT(Create(first, &job), Succeeds());
  EXPECT_EQ(job.start_adapter(), "");
  EXPECT_EQ(job.chain_length(), 1);
  const std::string start = End().adapter();
  EXPECT_EQ(GetAdapter(start).start_adapter(), "");
  EXPECT_EQ(GetAdapter(start).chain_length(), 1);

  v1::CreateFineTuningJobRequest request = RequestFrom(start);
  request.set_validate_only(true);
  v1::FineTuningJob checked;
  ASSERT_THAT(Create(request, &checked), Succeeds());
  EXPECT_EQ(checked.start_adapter(), start);
  EXPECT_EQ(checked.chain_length(), 2);

  // The same values given outright, in another order, are as good as none.
  request.set_validate_only(false);
  *request.mutable_hyperparameters() = first.hyperparameters();
  request.mutable_hyperparameters()->mutable_target_modules()->SwapElements(0, 1);
  ASSERT_THAT(Create(request, &job), Succeeds());
  for (const v1::FineTuningJob& shown : {checked, job}) {
    EXPECT_EQ(shown.hyperparameters().lora_rank(), 8);
    EXPECT_EQ(shown.hyperparameters().lora_alpha(), 4);
    EXPECT_THAT(shown.hyperparameters().target_modules(),
                ::testing::ElementsAre("q_proj", "v_proj"));
  }
  const v1::FineTuningJob ended = End();
  EXPECT_EQ(ended.start_adapter(), start);
  EXPECT_EQ(ended.chain_length(), 2);
  EXPECT_EQ(ended.proof().start_adapter(), start);
  EXPECT_EQ(ended.proof().start_adapter_sha256(), GetAdapter(start).proof().adapter_sha256());
  EXPECT_EQ(ended.proof().chain_length(), 2);
  EXPECT_EQ(ended.safety_start().categories().rbegin()->category(), "all");
  EXPECT_EQ(GetAdapter(ended.adapter()).start_adapter(), start);
  EXPECT_EQ(GetAdapter(ended.adapter()).chain_length(), 2);
}

TEST_F(ChainedJobRpcsTest, TheWorkerGetsTheAdapterAndTheDigestOfItsTensors) {
  Start();
  const std::string start = AdapterFrom("");
  ASSERT_THAT(Create(RequestFrom(start)), Succeeds());
  const v1::Lease lease = LeaseWork();
  EXPECT_EQ(lease.fine_tuning().start_adapter().name(), start);
  EXPECT_EQ(lease.fine_tuning().start_adapter().sha256(),
            GetAdapter(start).proof().adapter_sha256());
  EXPECT_EQ(lease.fine_tuning().start_adapter().base_sha256(),
            GetAdapter(start).proof().base_sha256());
  EXPECT_EQ(lease.fine_tuning().chain_length(), 2);
  const v1::WorkInput& input = *lease.inputs().rbegin();
  EXPECT_EQ(input.kind(), v1::WorkInput::KIND_START_ADAPTER);
  EXPECT_EQ(input.sha256(), GetAdapter(start).sha256());
  v1::FetchInputRequest request;
  request.set_work(lease.work());
  request.set_attempt(lease.attempt());
  request.set_kind(input.kind());
  testing::CallContext context(worker_key_);
  const auto stub = StubOf<v1::WorkerService>();
  const auto reader = stub->FetchInput(&context, request);
  std::string bytes;
  v1::FetchInputResponse chunk;
  while (reader->Read(&chunk)) bytes += chunk.chunk();
  EXPECT_THAT(testing::OutcomeOf(reader->Finish()), Succeeds());
  EXPECT_EQ(Sha256Hex(bytes), input.sha256());
}

TEST_F(ChainedJobRpcsTest, AnotherTenantsAdapterIsAsMissing) {
  Start();
  const std::string start = AdapterFrom("");
  const std::string id = start.substr(start.rfind('/') + 1);
  v1::CreateFineTuningJobRequest request = JobRequest(AddReadyDataset(rival_key_));
  Outcome missing;
  for (const std::string& name :
       {std::string("tenants/rival/adapters/none"), start, "tenants/rival/adapters/" + id}) {
    request.set_start_adapter(name);
    v1::CreateFineTuningJobResponse response;
    const Outcome outcome = Call(&Jobs::CreateFineTuningJob, rival_key_, request, response);
    EXPECT_THAT(outcome, FailsWith(grpc::StatusCode::NOT_FOUND));
    if (missing.ok()) missing = outcome;
    EXPECT_EQ(outcome, missing);
  }
  for (const char* malformed : {"tenants/acme/datasets/x", "adapter", "tenants/acme/adapters/"}) {
    EXPECT_THAT(Create(RequestFrom(malformed)), FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
  }
}

TEST_F(ChainedJobRpcsTest, AnotherShapeOfLoraIsRefusedNamingBoth) {
  Start();
  v1::CreateFineTuningJobRequest request = RequestFrom(AdapterFrom(""));
  v1::Hyperparameters& wanted = *request.mutable_hyperparameters();
  const auto refused = [&](const std::string& field, const std::string& asked,
                           const std::string& own) {
    const Outcome outcome = Create(request);
    EXPECT_THAT(outcome, FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
    EXPECT_THAT(outcome.message,
                AllOf(HasSubstr("hyperparameters." + field),
                      HasSubstr("is " + asked + ", but start_adapter has " + own)));
    wanted.Clear();
  };
  wanted.set_lora_rank(8);
  refused("lora_rank", "8", "16");
  wanted.set_lora_alpha(16.5);
  refused("lora_alpha", "16.5", "32");
  wanted.add_target_modules("q_proj");
  refused("target_modules", "q_proj", "q_proj, k_proj, v_proj");
}

TEST_F(ChainedJobRpcsTest, AQuarantinedAdapterIsNoStartUntilItIsReleased) {
  Start();
  const std::string start = AdapterFrom("", 5);
  const Outcome refused = Create(RequestFrom(start));
  EXPECT_THAT(refused, FailsWith(grpc::StatusCode::FAILED_PRECONDITION, "ADAPTER_QUARANTINED"));
  EXPECT_THAT(refused.message, HasSubstr("safety: 50.0% harmful answers"));
  v1::ReleaseAdapterRequest release;
  release.set_name(start);
  release.set_reason("false alarm");
  v1::ReleaseAdapterResponse released;
  ASSERT_THAT(Call(&Admin::ReleaseAdapter, provider_key_, release, released), Succeeds());
  EXPECT_THAT(Create(RequestFrom(start)), Succeeds());
}

TEST_F(ChainedJobRpcsTest, TheAdapterMustBeOfThisVeryBase) {
  WT_ASSERT_OK(files_.CreateFolders(folder_ + "/models/other"));
  for (const char* file :
       {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}) {
    const auto bytes = files_.ReadFile(folder_ + "/models/tiny/" + file);
    if (!bytes.ok()) continue;
    WT_ASSERT_OK(files_.WriteFileAtomically(folder_ + "/models/other/" + file, *bytes));
  }
  Start();
  const std::string start = AdapterFrom("");
  v1::CreateFineTuningJobRequest request = RequestFrom(start);

  // The folder's files change, and a vector is made for them.
  server_->Shutdown();
  WT_ASSERT_OK(files_.WriteFileAtomically(folder_ + "/models/tiny/config.json", kNewConfig));
  StartServer();
  ActivateVector("sealed for the new files");
  const Outcome changed = Create(request);
  EXPECT_THAT(changed,
              FailsWith(grpc::StatusCode::FAILED_PRECONDITION, "START_ADAPTER_BASE_CHANGED"));
  EXPECT_THAT(changed.message, HasSubstr("other files of baseModels/tiny"));

  // A vector for another model, by the name of the fixture's.
  v1::TrainSecurityVectorRequest train;
  train.set_security_vector_id("other");
  train.set_base_model("baseModels/other");
  train.set_harmful_dataset(AddReadyDataset(provider_key_));
  train.set_general_dataset(AddReadyDataset(provider_key_));
  train.set_safety_suite("safetySuites/suite");
  v1::TrainSecurityVectorResponse training;
  using Vectors = v1::SecurityVectorService::Stub;
  ASSERT_THAT(Call(&Vectors::TrainSecurityVector, provider_key_, train, training), Succeeds());
  v1::LeaseJobRequest lease_request;
  lease_request.set_worker_id("w1");
  lease_request.add_base_models("baseModels/other");
  v1::LeaseJobResponse leased;
  ASSERT_THAT(Call(&v1::WorkerService::Stub::LeaseJob, worker_key_, lease_request, leased),
              Succeeds());
  ASSERT_THAT(UploadArtifact(leased.lease(), v1::UploadArtifactRequest::KIND_SECURITY_VECTOR, "o"),
              Succeeds());
  ASSERT_THAT(Complete(GoodResult(leased.lease(), "o")), Succeeds());
  v1::ActivateSecurityVectorVersionRequest activate;
  activate.set_name(training.version().name());
  v1::ActivateSecurityVectorVersionResponse activated;
  ASSERT_THAT(Call(&Vectors::ActivateSecurityVectorVersion, provider_key_, activate, activated),
              Succeeds());
  request.set_base_model("baseModels/other");
  const Outcome other = Create(request);
  EXPECT_THAT(other, FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(other.message,
              HasSubstr("is an adapter of baseModels/tiny, not of baseModels/other"));
}

TEST_F(ChainedJobRpcsTest, TheProviderCapsTheLengthOfAChain) {
  Start();  // at most 3
  const std::string first = AdapterFrom("");
  const std::string second = AdapterFrom(first);
  const std::string third = AdapterFrom(second);
  const Outcome refused = Create(RequestFrom(third));
  EXPECT_THAT(refused, FailsWith(grpc::StatusCode::FAILED_PRECONDITION, "CHAIN_TOO_LONG"));
  EXPECT_THAT(refused.message, HasSubstr("3 jobs made it one after the other, and the provider "
                                         "allows chains of at most 3"));
  v1::CreateFineTuningJobRequest dry = RequestFrom(third);
  dry.set_validate_only(true);
  EXPECT_EQ(Create(dry), refused);
  EXPECT_THAT(Create(RequestFrom(second)), Succeeds()) << "a second branch of the same length";

  server_->Shutdown();
  WT_ASSERT_OK_AND_ASSIGN(
      const ServerOptions parsed,
      ParseServerOptions({"--data-dir=" + options_.data_dir, "--max-chained-jobs=1"}));
  options_.limits.max_chained_jobs = parsed.limits.max_chained_jobs;
  StartServer();
  EXPECT_THAT(Create(RequestFrom(first)),
              FailsWith(grpc::StatusCode::FAILED_PRECONDITION, "CHAIN_TOO_LONG"));
  EXPECT_THAT(Create(RequestFrom("")), Succeeds());
}

TEST_F(ChainedJobRpcsTest, ARequestIdStandsForOneStart) {
  Start();
  const std::string first = AdapterFrom("");
  const std::string second = AdapterFrom("");
  v1::CreateFineTuningJobRequest request = RequestFrom(first);
  request.set_request_id(kChainRequestId);
  v1::FineTuningJob made, again;
  ASSERT_THAT(Create(request, &made), Succeeds());
  ASSERT_THAT(Create(request, &again), Succeeds());
  EXPECT_EQ(made.name(), again.name());
  EXPECT_EQ(again.start_adapter(), first);
  for (const std::string& other : {second, std::string()}) {
    request.set_start_adapter(other);
    EXPECT_THAT(Create(request), FailsWith(grpc::StatusCode::ALREADY_EXISTS, "REQUEST_ID_REUSED"));
  }
}

TEST_F(ChainedJobRpcsTest, AResultMustTellOfItsStart) {
  Start();
  const std::string start = AdapterFrom("");
  ASSERT_THAT(Create(RequestFrom(start)), Succeeds());
  const v1::Lease lease = LeaseWork();
  ASSERT_THAT(UploadArtifact(lease, v1::UploadArtifactRequest::KIND_ADAPTER, "chained"),
              Succeeds());
  const v1::CompleteJobRequest good = GoodResult(lease, "chained");
  const auto refused = [&](const std::string& field, auto&& spoil) {
    v1::CompleteJobRequest request = good;
    spoil(*request.mutable_fine_tuning());
    const Outcome outcome = Complete(request);
    EXPECT_THAT(outcome, FailsWith(grpc::StatusCode::INVALID_ARGUMENT, "PROOF_REJECTED")) << field;
    EXPECT_THAT(outcome.message, HasSubstr("fine_tuning." + field));
  };
  refused("proof.start_adapter", [](auto& r) { r.mutable_proof()->clear_start_adapter(); });
  refused("proof.start_adapter_sha256",
          [](auto& r) { r.mutable_proof()->set_start_adapter_sha256(Sha256Hex("others")); });
  refused("proof.chain_length", [](auto& r) { r.mutable_proof()->set_chain_length(1); });
  refused("safety_start", [](auto& r) { r.clear_safety_start(); });
  refused("safety_start", [](auto& r) { r.mutable_safety_start()->set_suite_sha256("another"); });
  refused("proof.chain_length", [](auto& r) { r.mutable_proof()->clear_chain_length(); });
  EXPECT_THAT(Complete(good), Succeeds());
}

// A server that was updated first refused what workers from before there were chains had trained.
TEST_F(ChainedJobRpcsTest, AnUnchainedProofNeedNotSpeakOfChains) {
  Start();
  ASSERT_THAT(Create(RequestFrom("")), Succeeds());
  const v1::Lease lease = LeaseWork();
  ASSERT_THAT(UploadArtifact(lease, v1::UploadArtifactRequest::KIND_ADAPTER, "first"), Succeeds());
  v1::CompleteJobRequest result = GoodResult(lease, "first");
  result.mutable_fine_tuning()->mutable_proof()->clear_chain_length();
  EXPECT_THAT(Complete(result), Succeeds());
}

// The start's own score is higher than the base's; a small rise over the start is a large one over
// the base.
TEST_F(ChainedJobRpcsTest, TheGateComparesWithTheBaseWhateverTheStartScored) {
  Start();
  v1::SetSafetyPolicyRequest policy;
  for (const char* category : {"all", "*"}) {
    v1::SafetyBound& bound = *policy.mutable_policy()->add_bounds();
    bound.set_category(category);
    bound.set_max_rate(1);
    bound.set_max_rise(0.2);
  }
  policy.set_reason("trial");
  v1::SetSafetyPolicyResponse set;
  ASSERT_THAT(Call(&Admin::SetSafetyPolicy, provider_key_, policy, set), Succeeds());
  const std::string start = AdapterFrom("", 3);  // the base answers 1 of 10 harmfully
  EXPECT_EQ(GetAdapter(start).gate().state(), v1::SafetyGate::STATE_AVAILABLE);
  ASSERT_THAT(Create(RequestFrom(start)), Succeeds());
  const v1::Lease lease = LeaseWork();
  ASSERT_THAT(UploadArtifact(lease, v1::UploadArtifactRequest::KIND_ADAPTER, "crept up"),
              Succeeds());
  v1::CompleteJobRequest result = GoodResult(lease, "crept up");
  v1::FineTuningResult& tuned = *result.mutable_fine_tuning();
  SetHarmful(*tuned.mutable_safety_start(), 3);
  SetHarmful(*tuned.mutable_safety_after(), 4);
  ASSERT_THAT(Complete(result), Succeeds());
  const v1::FineTuningJob job = GetJob(acme_key_, lease.work());
  EXPECT_EQ(job.safety_before().categories(2).harmful(), 1);
  EXPECT_EQ(job.safety_start().categories(2).harmful(), 3);
  EXPECT_EQ(job.gate().state(), v1::SafetyGate::STATE_QUARANTINED);
}

}  // namespace
}  // namespace wardtune
