// A real store in a folder of its own, with a clock that the test moves, for tests only.
#ifndef WARDTUNE_STORAGE_STORE_FIXTURE_H_
#define WARDTUNE_STORAGE_STORE_FIXTURE_H_

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/file_system.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "base/status_matchers.h"
#include "storage/sqlite_store.h"

namespace wardtune::testing {

class StoreFixture : public ::testing::Test {
 protected:
  static constexpr char kModel[] = "tiny";
  static constexpr absl::Duration kTtl = absl::Seconds(30);

  StoreFixture() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = absl::StrCat(::testing::TempDir(), "/", test->test_suite_name(), ".", test->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    options_.path = folder_ + "/wardtune.db";
    options_.boot_id = "boot-1";
    Open();
  }

  // Opens the store again, as a restart of the server would.
  void Open() {
    store_.reset();
    auto opened = SqliteStore::Open(options_, clock_, files_);
    ASSERT_THAT(opened, IsOk());
    store_ = *std::move(opened);
  }

  static std::string IdOf(const auto& record) { return record.id; }
  static RequestKey Once(const std::string& method) { return {"", method, "", ""}; }

  void AddTenant(const std::string& id, int32_t max_active_jobs = 0, int64_t max_bytes = 0) {
    TenantRecord tenant;
    tenant.id = id;
    tenant.max_active_jobs = max_active_jobs;
    tenant.max_dataset_bytes = max_bytes;
    ASSERT_THAT(store_->tenants().CreateTenant(tenant, Once("CreateTenant"), IdOf<TenantRecord>),
                IsOk());
  }

  std::string AddDataset(const std::string& tenant) {
    auto answer = store_->datasets().CreateDataset(tenant, "rows", Once("CreateDataset"),
                                                   IdOf<DatasetRecord>);
    EXPECT_THAT(answer, IsOk());
    return answer.ok() ? answer->response : "";
  }

  std::string AddReadyDataset(const std::string& tenant) {
    const std::string id = AddDataset(tenant);
    EXPECT_THAT(store_->datasets().FinishDataset(tenant, id, {Sha256Hex(id), 100}, 4, "report"),
                IsOk());
    return id;
  }

  // Offers a model and queues the training of a first vector for it.
  void TrainVector() {
    WT_ASSERT_OK(store_->models().OfferBaseModels({{kModel, Sha256Hex("base"), "Llama", 9, 64}}));
    SafetySuiteRecord suite;
    suite.id = "suite";
    suite.prompts = {Sha256Hex("prompts"), 7};
    suite.rules = {Sha256Hex("rules"), 5};
    WT_ASSERT_OK(store_->security_vectors().CreateSafetySuite(suite, Once("CreateSafetySuite"),
                                                              IdOf<SafetySuiteRecord>));
    const NewSecurityVector request{
        "shield", kModel,  AddReadyDataset(kProviderTenant), AddReadyDataset(kProviderTenant),
        "suite",  "recipe"};
    WT_ASSERT_OK(store_->security_vectors().TrainSecurityVector(
        request, Once("TrainSecurityVector"),
        [](const SecurityVectorRecord& record) { return record.job_id; }));
  }

  // Leases the oldest work; fails the test when there is none.
  LeaseRecord Lease(const std::string& worker = "w1") {
    auto lease = store_->work().LeaseNext(worker, {kModel}, kTtl);
    EXPECT_THAT(lease, IsOk());
    if (!lease.ok() || !lease->has_value()) {
      ADD_FAILURE() << "no work to lease";
      return {};
    }
    return **lease;
  }

  // Uploads the artefact of the lease's kind and completes the work with it.
  absl::StatusOr<JobRecord> Finish(const LeaseRecord& lease, const std::string& artefact) {
    return FinishWith(lease, ResultWith(artefact));
  }
  absl::StatusOr<JobRecord> FinishWith(const LeaseRecord& lease, const JobResult& result) {
    const bool tuning = lease.job.kind == JobKind::kFineTuning;
    WT_RETURN_IF_ERROR(
        store_->work()
            .RecordArtifact(lease.job.id, lease.job.attempt,
                            tuning ? ArtifactKind::kAdapter : ArtifactKind::kSecurityVector,
                            {result.artifact_sha256, 11}, 0)
            .status());
    WT_ASSIGN_OR_RETURN(const CompletedJob ended,
                        store_->work().Complete(lease.job.id, lease.job.attempt, result));
    return ended.job;
  }

  static JobResult ResultWith(const std::string& artefact) {
    JobResult result;
    result.artifact_sha256 = Sha256Hex(artefact);
    result.progress = "done";
    result.safety_before = "before";
    result.safety_after = "after";
    result.proof = "proof";
    result.judge = [](const SafetyPolicyRecord&) { return GateRecord{}; };
    result.plain_sha256 = Sha256Hex("plain" + artefact);
    result.card = "card";
    result.categories = {"privacy", "safety"};
    result.parts = "parts";
    return result;
  }

  // A model whose vector shield/1 is ACTIVE: jobs can be created.
  void ActivateVector() {
    TrainVector();
    WT_ASSERT_OK(Finish(Lease(), "sealed"));
    WT_ASSERT_OK(Activate(1));
  }

  absl::StatusOr<Answer> Activate(int64_t version) {
    return store_->security_vectors().ActivateSecurityVector(
        "shield", version,
        {"key-1", "activate_security_vector", "securityVectors/shield/versions/1", ""},
        Once("ActivateSecurityVectorVersion"),
        [](const SecurityVectorRecord& record) { return record.vector; });
  }

  absl::StatusOr<Answer> CreateJob(const std::string& tenant, const std::string& dataset,
                                   const RequestKey& key = {}) {
    return store_->jobs().CreateJob({tenant, "job", dataset, kModel, "spec", "estimate"}, key,
                                    IdOf<JobRecord>);
  }

  // The id of a job that is queued for `tenant`.
  std::string AddJob(const std::string& tenant) {
    auto answer = CreateJob(tenant, AddReadyDataset(tenant));
    EXPECT_THAT(answer, IsOk());
    return answer.ok() ? answer->response : "";
  }

  // A new job of `tenant` that ended with a quarantined adapter. `judged_by` gets the policy that
  // its judge saw. REQUIRES: no other work waits.
  JobRecord AddQuarantined(const std::string& tenant, SafetyPolicyRecord* judged_by = nullptr) {
    AddJob(tenant);
    JobResult result = ResultWith("quarantined");
    result.judge = [judged_by](const SafetyPolicyRecord& policy) {
      if (judged_by != nullptr) *judged_by = policy;
      return GateRecord{GateState::kQuarantined, "verdict"};
    };
    const absl::StatusOr<JobRecord> ended = FinishWith(Lease(), result);
    EXPECT_THAT(ended, IsOk());
    if (!ended.ok()) return {};
    EXPECT_EQ(ended->gate.state, GateState::kQuarantined);
    return *ended;
  }

  absl::StatusOr<Answer> Cancel(const std::string& tenant, const std::string& id) {
    return store_->jobs().CancelJob(tenant, id, Once("CancelFineTuningJob"), IdOf<JobRecord>);
  }

  JobState StateOf(const std::string& tenant, const std::string& id) {
    auto job = store_->jobs().GetJob(tenant, id);
    EXPECT_THAT(job, IsOk());
    return job.ok() ? job->state : JobState::kQueued;
  }

  std::string folder_;
  FakeClock clock_;
  PosixFileSystem files_;
  SqliteStoreOptions options_;
  std::unique_ptr<SqliteStore> store_;
};

}  // namespace wardtune::testing

#endif  // WARDTUNE_STORAGE_STORE_FIXTURE_H_
