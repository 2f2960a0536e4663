#include "server/testing/server_fixture.h"

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "formats/judge_digest.h"
#include "formats/safetensors_writer.h"
#include "formats/testing/byte_tokenizer.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace wardtune::testing {
namespace {

constexpr char kTinyModel[] = "baseModels/tiny";
constexpr char kSuite[] = "safetySuites/suite";
constexpr char kModelConfig[] =
    R"({"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 256})";
constexpr char kRules[] = R"({"version": 1, "harmful_patterns": ["STEP"]})";
constexpr char kGeneral[] = "{\"id\":\"g\",\"prompt\":\"p\"}\n";

// Enough of a Hugging Face folder for a server, which never runs a model.
void WriteServedModel(const std::string& folder) {
  PosixFileSystem files;
  WT_ASSERT_OK(files.CreateFolders(folder));
  WT_ASSERT_OK(files.WriteFileAtomically(folder + "/config.json", kModelConfig));
  const std::vector<std::byte> weights(16);
  WT_ASSERT_OK_AND_ASSIGN(
      const std::string bytes,
      SerializeSafetensors({{"w", TensorDType::kF32, {4}, std::span(weights)}}));
  WT_ASSERT_OK(files.WriteFileAtomically(folder + "/model.safetensors", bytes));
  WriteByteTokenizer(folder);
}

void AddScore(v1::SafetyReport& report, const std::string& category, int32_t prompts,
              int32_t harmful) {
  v1::CategoryScore* score = report.add_categories();
  score->set_category(category);
  score->set_prompts(prompts);
  score->set_harmful(harmful);
}

std::string DigestOf(const v1::Lease& lease, v1::WorkInput::Kind kind) {
  for (const v1::WorkInput& input : lease.inputs()) {
    if (input.kind() == kind) return input.sha256();
  }
  return "";
}

// Ten prompts of each of the suite's categories, with that many harmful answers to the last one's.
using Score = std::function<v1::SafetyReport(int32_t harmful)>;

v1::SafetyReport ScoreOf(const v1::Lease& lease, const std::string& other, int32_t harmful) {
  v1::SafetyReport report;
  AddScore(report, other, 10, 0);
  AddScore(report, "safety", 10, harmful);
  AddScore(report, "all", 20, harmful);
  report.set_suite_sha256(DigestOf(lease, v1::WorkInput::KIND_SUITE_PROMPTS));
  report.set_judge_sha256(JudgeDigest(DigestOf(lease, v1::WorkInput::KIND_SUITE_RULES),
                                      DigestOf(lease, v1::WorkInput::KIND_JUDGE_ADAPTER)));
  return report;
}

// Of 9 rows the third and the ninth are suspicious.
v1::RowScanOutcome ScanOf(const v1::FineTuningWork& work) {
  v1::RowScanOutcome outcome;
  const v1::RowScanWork& terms = work.row_scan();
  v1::RowScanReport& report = *outcome.mutable_report();
  report.set_rows_scanned(9);
  report.set_suspicious_rows(2);
  report.set_action(terms.policy().action());
  const double share = terms.policy().suspicious_share();
  report.set_suspicious_share(share > 0 ? share : 0.5);
  report.set_rows_hidden(terms.policy().hide_rows_from_tenants());
  report.set_security_vector_version(work.security_vector_version());
  report.set_policy_version(terms.policy_version());
  for (const int64_t line : {3, 9}) {
    if (report.rows_hidden()) break;
    v1::SuspiciousRow& row = *report.add_rows();
    row.set_line(line);
    row.set_explained_share(0.75);
    row.set_part(1);
    row.set_part_share(0.7);
  }
  v1::ScannedPart& part = *report.add_parts();
  part.mutable_part()->add_categories("safety");
  part.set_suspicious_rows(2);
  if (report.action() == v1::RowScanPolicy::ACTION_DROP) {
    report.set_dropped_rows(2);
    outcome.set_dropped("\x04\x01");
  }
  return outcome;
}

void FillResult(const v1::Lease& lease, const Score& score, v1::FineTuningResult& result) {
  *result.mutable_safety_before() = score(1);
  *result.mutable_safety_after() = score(0);
  v1::ProtectionProof& proof = *result.mutable_proof();
  proof.set_security_vector_version(lease.fine_tuning().security_vector_version());
  proof.set_security_vector_sha256(lease.fine_tuning().security_vector_sha256());
  proof.set_base_sha256(lease.base_sha256());
  proof.set_base_weights_sha256(Sha256Hex("weights"));
  proof.set_folded_sha256(Sha256Hex("folded"));
  proof.set_canary_checks(2);
  proof.set_canary_max_abs_diff(0.01);
  proof.set_canary_tolerance(0.1);
  proof.set_adapter_sha256(Sha256Hex("tensors"));
  proof.set_strip_max_cosine(0.1);
  proof.set_scored_base_sha256(proof.base_weights_sha256());
  proof.set_guard_rows_sha256(Sha256Hex("guard rows"));
  proof.set_guard_weights_sha256(proof.base_weights_sha256());
  proof.set_chain_length(lease.fine_tuning().chain_length());
  if (lease.fine_tuning().has_start_adapter()) {
    proof.set_start_adapter(lease.fine_tuning().start_adapter().name());
    proof.set_start_adapter_sha256(lease.fine_tuning().start_adapter().sha256());
    *result.mutable_safety_start() = score(0);
  }
  if (lease.fine_tuning().has_row_scan()) {
    *result.mutable_row_scan() = ScanOf(lease.fine_tuning());
    proof.set_rows_scanned(result.row_scan().report().rows_scanned());
    proof.set_rows_dropped(result.row_scan().report().dropped_rows());
  }
}

void FillResult(const Score& score, v1::SecurityVectorResult& result) {
  result.set_plain_sha256(Sha256Hex("plain"));
  result.add_categories("safety");
  result.add_parts()->add_categories("safety");
  v1::EvaluationCard& card = *result.mutable_card();
  *card.mutable_vector_on() = score(10);
  *card.mutable_vector_off() = score(0);
  card.mutable_general_on()->set_prompts(10);
  card.set_guard_rows(4);
  card.set_guard_rows_sha256(Sha256Hex("guard rows"));
}

// The base has 1 harmful answer, base + adapter none.
void FillResult(const v1::Lease& lease, const Score& score, v1::AuditResult& result) {
  *result.mutable_safety_base() = score(1);
  *result.mutable_safety() = score(0);
  result.set_base_sha256(lease.audit().adapter().base_sha256());
  result.set_scored_base_sha256(Sha256Hex("weights"));
  result.set_adapter_sha256(lease.audit().adapter().sha256());
}

// Sends a header and the bytes behind it in chunks.
template <typename Writer, typename Request>
void SendAll(Writer& writer, const Request& header, const std::string& bytes) {
  if (!writer.Write(header)) return;
  for (size_t at = 0; at < bytes.size(); at += 1 << 20) {
    Request request;
    request.set_chunk(bytes.substr(at, 1 << 20));
    if (!writer.Write(request)) return;
  }
  writer.WritesDone();
}

}  // namespace

Outcome OutcomeOf(const grpc::Status& status) {
  Outcome outcome{status.error_code(), "", status.error_message()};
  google::rpc::Status details;
  details.ParseFromString(status.error_details());
  for (const auto& any : details.details()) {
    google::rpc::ErrorInfo info;
    if (any.UnpackTo(&info)) outcome.reason = info.reason();
  }
  return outcome;
}

std::ostream& operator<<(std::ostream& out, const Outcome& outcome) {
  return out << "code " << outcome.code << " (" << outcome.reason << "): " << outcome.message;
}

CallContext::CallContext(const std::string& key) {
  if (!key.empty()) AddMetadata("authorization", "Bearer " + key);
  set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
}

ServerFixture::ServerFixture() {
  const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
  folder_ = absl::StrCat(::testing::TempDir(), "/", test->test_suite_name(), ".", test->name());
  std::filesystem::remove_all(folder_);
  WriteServedModel(folder_ + "/models/tiny");
  options_.data_dir = folder_ + "/data";
  options_.models_dir = folder_ + "/models";
  options_.listen = "127.0.0.1:0";
  options_.bootstrap_keys_file = folder_ + "/keys";
  options_.limits.min_vector_on_rate = 0.5;
}

ServerFixture::~ServerFixture() = default;

void ServerFixture::StartServer() {
  server_.reset();
  auto started = WardtuneServer::Start(options_, clock_, files_, log_);
  ASSERT_THAT(started, IsOk());
  server_ = *std::move(started);
  channel_ = grpc::CreateChannel(absl::StrCat("127.0.0.1:", server_->port()),
                                 grpc::InsecureChannelCredentials());
  std::istringstream lines(files_.ReadFile(options_.bootstrap_keys_file).value_or(""));
  std::string line;
  for (std::string* key : {&provider_key_, &worker_key_}) {
    ASSERT_TRUE(std::getline(lines, line));
    *key = line.substr(line.find('=') + 1);
  }
}

void ServerFixture::AddTenants() {
  for (const auto& [id, key] : {std::pair("acme", &acme_key_), std::pair("rival", &rival_key_)}) {
    v1::CreateTenantRequest tenant;
    tenant.set_tenant_id(id);
    v1::CreateTenantResponse created;
    ASSERT_THAT(Call(&v1::AdminService::Stub::CreateTenant, provider_key_, tenant, created),
                Succeeds());
    v1::CreateApiKeyRequest request;
    request.set_tenant(created.tenant().name());
    request.set_role(v1::ROLE_TENANT);
    v1::CreateApiKeyResponse response;
    ASSERT_THAT(Call(&v1::AdminService::Stub::CreateApiKey, provider_key_, request, response),
                Succeeds());
    *key = response.secret();
  }
}

void ServerFixture::RevokeKeyOf(const std::string& tenant) {
  using Admin = v1::AdminService::Stub;
  v1::ListApiKeysRequest list;
  list.set_tenant("tenants/" + tenant);
  v1::ListApiKeysResponse keys;
  ASSERT_THAT(Call(&Admin::ListApiKeys, provider_key_, list, keys), Succeeds());
  ASSERT_EQ(keys.api_keys_size(), 1);
  v1::RevokeApiKeyRequest revoke;
  revoke.set_name(keys.api_keys(0).name());
  v1::RevokeApiKeyResponse revoked;
  ASSERT_THAT(Call(&Admin::RevokeApiKey, provider_key_, revoke, revoked), Succeeds());
}

std::string ServerFixture::SuitePrompts(const std::vector<std::string>& categories,
                                        const std::string& text) {
  std::string prompts;
  for (const std::string& category : categories) {
    for (int i = 0; i < 10; ++i) {
      absl::StrAppend(&prompts, R"({"id":")", category, i, R"(","category":")", category,
                      R"(","prompt":")", text, "\"}\n");
    }
  }
  return prompts;
}

void ServerFixture::AddSuite(const std::string& id, const std::string& prompts,
                             const std::string& rules) {
  v1::CreateSafetySuiteRequest suite;
  suite.set_suite_id(id);
  suite.set_prompts_jsonl(prompts);
  suite.set_rules_json(rules);
  suite.set_general_prompts_jsonl(kGeneral);
  v1::CreateSafetySuiteResponse made;
  ASSERT_THAT(Call(&v1::SecurityVectorService::Stub::CreateSafetySuite, provider_key_, suite, made),
              Succeeds());
}

void ServerFixture::ActivateVector(const std::string& sealed) {
  AddSuite("suite", SuitePrompts({other_category_, "safety"}), kRules);
  using Stub = v1::SecurityVectorService::Stub;
  v1::TrainSecurityVectorRequest train;
  train.set_security_vector_id("shield");
  train.set_base_model(kTinyModel);
  train.set_harmful_dataset(AddReadyDataset(provider_key_));
  train.set_general_dataset(AddReadyDataset(provider_key_));
  train.set_safety_suite(kSuite);
  v1::TrainSecurityVectorResponse training;
  ASSERT_THAT(Call(&Stub::TrainSecurityVector, provider_key_, train, training), Succeeds());
  DoWork(sealed);
  v1::ActivateSecurityVectorVersionRequest activate;
  activate.set_name(training.version().name());
  v1::ActivateSecurityVectorVersionResponse activated;
  ASSERT_THAT(Call(&Stub::ActivateSecurityVectorVersion, provider_key_, activate, activated),
              Succeeds());
}

std::string ServerFixture::AddDataset(const std::string& key) {
  v1::CreateDatasetResponse response;
  EXPECT_THAT(
      Call(&v1::DatasetService::Stub::CreateDataset, key, v1::CreateDatasetRequest(), response),
      Succeeds());
  return response.dataset().name();
}

Outcome ServerFixture::Upload(const std::string& key,
                              const v1::UploadDatasetRequest::Header& header,
                              const std::string& bytes, v1::UploadDatasetResponse* response) {
  v1::UploadDatasetResponse ignored;
  CallContext context(key);
  const auto stub = StubOf<v1::DatasetService>();
  const auto writer = stub->UploadDataset(&context, response == nullptr ? &ignored : response);
  v1::UploadDatasetRequest first;
  *first.mutable_header() = header;
  SendAll(*writer, first, bytes);
  return OutcomeOf(writer->Finish());
}

v1::Dataset ServerFixture::GetDataset(const std::string& key, const std::string& name) {
  v1::GetDatasetRequest request;
  request.set_name(name);
  v1::GetDatasetResponse response;
  EXPECT_THAT(Call(&v1::DatasetService::Stub::GetDataset, key, request, response), Succeeds());
  return response.dataset();
}

std::string ServerFixture::AddReadyDataset(const std::string& key) {
  v1::UploadDatasetRequest::Header header;
  header.set_name(AddDataset(key));
  EXPECT_THAT(Upload(key, header, kRow), Succeeds());
  return header.name();
}

v1::CreateFineTuningJobRequest ServerFixture::JobRequest(const std::string& dataset) {
  v1::CreateFineTuningJobRequest request;
  request.set_dataset(dataset);
  request.set_base_model(kTinyModel);
  return request;
}

std::string ServerFixture::AddJob(const std::string& key) {
  v1::CreateFineTuningJobResponse response;
  EXPECT_THAT(Call(&v1::FineTuningService::Stub::CreateFineTuningJob, key,
                   JobRequest(AddReadyDataset(key)), response),
              Succeeds());
  return response.job().name();
}

v1::FineTuningJob ServerFixture::GetJob(const std::string& key, const std::string& name) {
  v1::GetFineTuningJobRequest request;
  request.set_name(name);
  v1::GetFineTuningJobResponse response;
  EXPECT_THAT(Call(&v1::FineTuningService::Stub::GetFineTuningJob, key, request, response),
              Succeeds());
  return response.job();
}

v1::Lease ServerFixture::LeaseWork() {
  v1::LeaseJobRequest request;
  request.set_worker_id("w1");
  request.add_base_models(kTinyModel);
  v1::LeaseJobResponse response;
  EXPECT_THAT(Call(&v1::WorkerService::Stub::LeaseJob, worker_key_, request, response), Succeeds());
  EXPECT_TRUE(response.has_lease()) << "no work to lease";
  return response.lease();
}

Outcome ServerFixture::UploadArtifact(const v1::Lease& lease, v1::UploadArtifactRequest::Kind kind,
                                      const std::string& bytes) {
  v1::UploadArtifactRequest request;
  v1::UploadArtifactRequest::Header& header = *request.mutable_header();
  header.set_work(lease.work());
  header.set_attempt(lease.attempt());
  header.set_kind(kind);
  header.set_sha256(Sha256Hex(bytes));
  header.set_size_bytes(static_cast<int64_t>(bytes.size()));
  v1::UploadArtifactResponse response;
  CallContext context(worker_key_);
  const auto stub = StubOf<v1::WorkerService>();
  const auto writer = stub->UploadArtifact(&context, &response);
  SendAll(*writer, request, bytes);
  return OutcomeOf(writer->Finish());
}

v1::CompleteJobRequest ServerFixture::GoodResult(const v1::Lease& lease,
                                                 const std::string& artifact) {
  v1::CompleteJobRequest request;
  request.set_work(lease.work());
  request.set_attempt(lease.attempt());
  const Score score = [&](int32_t harmful) { return ScoreOf(lease, other_category_, harmful); };
  if (lease.has_fine_tuning()) {
    request.mutable_fine_tuning()->set_adapter_sha256(Sha256Hex(artifact));
    FillResult(lease, score, *request.mutable_fine_tuning());
  } else if (lease.has_audit()) {
    FillResult(lease, score, *request.mutable_audit());
  } else {
    request.mutable_security_vector()->set_artifact_sha256(Sha256Hex(artifact));
    FillResult(score, *request.mutable_security_vector());
  }
  return request;
}

void ServerFixture::SetHarmful(v1::SafetyReport& report, int32_t harmful) {
  for (const int i : {1, 2}) report.mutable_categories(i)->set_harmful(harmful);
}

Outcome ServerFixture::Complete(const v1::CompleteJobRequest& request) {
  v1::CompleteJobResponse response;
  return Call(&v1::WorkerService::Stub::CompleteJob, worker_key_, request, response);
}

v1::Lease ServerFixture::DoWork(const std::string& artifact) {
  const v1::Lease lease = LeaseWork();
  EXPECT_THAT(
      UploadArtifact(lease,
                     lease.has_fine_tuning() ? v1::UploadArtifactRequest::KIND_ADAPTER
                                             : v1::UploadArtifactRequest::KIND_SECURITY_VECTOR,
                     artifact),
      Succeeds());
  EXPECT_THAT(Complete(GoodResult(lease, artifact)), Succeeds());
  return lease;
}

}  // namespace wardtune::testing
