#include "storage/metadata_store.h"

#include <atomic>
#include <string>

#include "base/thread_pool.h"
#include "storage/error_reason.h"
#include "storage/store_fixture.h"

namespace wardtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::wardtune::testing::StatusIs;

class MetadataStoreTest : public testing::StoreFixture {
 protected:
  MetadataStoreTest() {
    AddTenant("acme");
    AddTenant("evil");
  }

  // A foreign id is answered like a missing one, but for the id itself.
  static void ExpectSameAsMissing(const absl::Status& foreign, const std::string& id,
                                  const absl::Status& missing) {
    EXPECT_THAT(foreign, StatusIs(absl::StatusCode::kNotFound));
    EXPECT_THAT(missing, StatusIs(absl::StatusCode::kNotFound));
    std::string text(missing.message());
    text.replace(text.find("missing"), 7, id);
    EXPECT_EQ(foreign.message(), text);
  }
};

TEST_F(MetadataStoreTest, TheProviderIsThereAndItsIdIsTaken) {
  WT_EXPECT_OK(store_->tenants().GetTenant(kProviderTenant));
  TenantRecord tenant;
  tenant.id = kProviderTenant;
  EXPECT_THAT(store_->tenants().CreateTenant(tenant, Once("CreateTenant"), IdOf<TenantRecord>),
              StatusIs(absl::StatusCode::kAlreadyExists));
}

TEST_F(MetadataStoreTest, KeysAreFoundByHashAndRevokedOnce) {
  ApiKeyRecord key;
  key.tenant = "acme";
  key.role = KeyRole::kWorker;
  key.secret_sha256 = Sha256Hex("secret");
  const std::string id = store_->tenants().CreateApiKey(key).value().id;
  EXPECT_EQ(store_->tenants().FindApiKey(key.secret_sha256).value().role, KeyRole::kWorker);
  EXPECT_THAT(store_->tenants().FindApiKey(Sha256Hex("guess")),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(store_->tenants().CreateApiKey(key), StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_THAT(store_->tenants().RevokeApiKey("evil", id), StatusIs(absl::StatusCode::kNotFound));
  const absl::Time revoked = store_->tenants().RevokeApiKey("acme", id).value().revoke_time;
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(store_->tenants().RevokeApiKey("acme", id).value().revoke_time, revoked);
  EXPECT_TRUE(store_->tenants().FindApiKey(key.secret_sha256).value().revoked());
}

TEST_F(MetadataStoreTest, ForeignIdsAreAnsweredLikeMissingOnes) {
  ActivateVector();
  const std::string dataset = AddDataset("acme");
  const std::string job = AddJob("acme");
  const std::string adapter = Finish(Lease(), "adapter").value().adapter_id;
  DatasetStore& datasets = store_->datasets();
  JobStore& jobs = store_->jobs();
  ExpectSameAsMissing(datasets.GetDataset("evil", dataset).status(), dataset,
                      datasets.GetDataset("evil", "missing").status());
  ExpectSameAsMissing(datasets.RecordReceived("evil", dataset, 1), dataset,
                      datasets.RecordReceived("evil", "missing", 1));
  auto remove = [&](const std::string& id) {
    return datasets.DeleteDataset("evil", id, "", Once("Delete"), IdOf<DatasetRecord>).status();
  };
  ExpectSameAsMissing(remove(dataset), dataset, remove("missing"));
  ExpectSameAsMissing(CreateJob("evil", dataset).status(), dataset,
                      CreateJob("evil", "missing").status());
  ExpectSameAsMissing(jobs.GetJob("evil", job).status(), job,
                      jobs.GetJob("evil", "missing").status());
  ExpectSameAsMissing(Cancel("evil", job).status(), job, Cancel("evil", "missing").status());
  ExpectSameAsMissing(jobs.ListJobEvents("evil", job, 0, 9).status(), job,
                      jobs.ListJobEvents("evil", "missing", 0, 9).status());
  ExpectSameAsMissing(jobs.GetAdapter("evil", adapter).status(), adapter,
                      jobs.GetAdapter("evil", "missing").status());
  EXPECT_THAT(jobs.ListJobs("evil", std::nullopt, {}).value().items, IsEmpty());
}

TEST_F(MetadataStoreTest, ASecurityVectorJobIsNobodysFineTuningJob) {
  TrainVector();
  const LeaseRecord lease = Lease();
  EXPECT_THAT(store_->jobs().GetJob(kProviderTenant, lease.job.id),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(MetadataStoreTest, ARepeatedRequestGetsTheFirstAnswer) {
  const RequestKey key{"acme", "CreateDataset", "request-1", "body-1"};
  auto create = [&](const RequestKey& k) {
    return store_->datasets().CreateDataset("acme", "rows", k, IdOf<DatasetRecord>);
  };
  const Answer first = create(key).value();
  EXPECT_FALSE(first.replayed);
  Open();
  const Answer second = create(key).value();
  EXPECT_TRUE(second.replayed);
  EXPECT_EQ(second.response, first.response);
  EXPECT_EQ(store_->maintenance().FindAnswer(key).value(), first.response);
  EXPECT_EQ(store_->datasets().ListDatasets("acme", {}).value().items.size(), 1u);

  RequestKey other = key;
  other.body_sha256 = "body-2";
  const auto reused = create(other);
  EXPECT_THAT(reused, StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_EQ(ReasonOf(reused.status()), kReasonRequestIdReused);
  RequestKey foreign = key;
  foreign.tenant = "evil";
  EXPECT_FALSE(create(foreign).value().replayed);
  clock_.Advance(absl::Hours(2));
  WT_ASSERT_OK(store_->maintenance().ForgetAnswers(absl::Hours(1)));
  EXPECT_EQ(store_->maintenance().FindAnswer(key).value(), std::nullopt);
}

TEST_F(MetadataStoreTest, AFailedMutationRemembersNothing) {
  ActivateVector();
  const RequestKey key{"acme", "CreateJob", "request-1", "body-1"};
  EXPECT_THAT(CreateJob("acme", "missing", key), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_EQ(store_->maintenance().FindAnswer(key).value(), std::nullopt);
}

TEST_F(MetadataStoreTest, AJobNeedsAReadyDatasetAndAnActiveVector) {
  TrainVector();
  const std::string ready = AddReadyDataset("acme");
  auto refused = CreateJob("acme", ready);
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_EQ(ReasonOf(refused.status()), kReasonNoSecurityVector);
  WT_ASSERT_OK(Finish(Lease(), "sealed"));
  EXPECT_EQ(ReasonOf(CreateJob("acme", ready).status()), kReasonNoSecurityVector);
  WT_ASSERT_OK(Activate(1));
  refused = CreateJob("acme", AddDataset("acme"));
  EXPECT_EQ(ReasonOf(refused.status()), kReasonDatasetNotReady);
  WT_EXPECT_OK(CreateJob("acme", ready));
  // Other bytes under the model's name: the vector no longer fits.
  WT_ASSERT_OK(store_->models().OfferBaseModels({{kModel, Sha256Hex("new base"), "Llama", 9, 64}}));
  EXPECT_EQ(ReasonOf(CreateJob("acme", ready).status()), kReasonNoSecurityVector);
}

TEST_F(MetadataStoreTest, ActivatingRetiresTheFormerVersionAndBack) {
  ActivateVector();
  EXPECT_THAT(Activate(1), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("ACTIVE")));
  TrainVector();
  EXPECT_THAT(Activate(2), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("TRAINING")));
  WT_ASSERT_OK(Finish(Lease(), "sealed 2"));
  WT_ASSERT_OK(Activate(2));
  auto state = [&](int64_t version) {
    return store_->security_vectors().GetSecurityVector("shield", version).value().state;
  };
  EXPECT_EQ(state(1), SecurityVectorState::kRetired);
  EXPECT_EQ(store_->models().GetBaseModel(kModel).value().active_version, 2);
  WT_ASSERT_OK(Activate(1));
  EXPECT_EQ(state(1), SecurityVectorState::kActive);
  EXPECT_EQ(state(2), SecurityVectorState::kRetired);
}

// It retired the version that serves the files on offer, and every new job found no vector.
TEST_F(MetadataStoreTest, AVersionOfOtherFilesIsNotActivatedNorAddedTo) {
  ActivateVector();
  TrainVector();
  WT_ASSERT_OK(Finish(Lease(), "sealed 2"));
  const auto is_refused =
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("trained on other files"));
  WT_ASSERT_OK(store_->models().OfferBaseModels({{kModel, Sha256Hex("new base"), "Llama", 9, 64}}));
  EXPECT_THAT(Activate(2), is_refused);
  NewSecurityVector adding{
      "wider", kModel,  AddReadyDataset(kProviderTenant), AddReadyDataset(kProviderTenant),
      "suite", "recipe"};
  adding.added_vector = "shield";
  adding.added_version = 2;
  const auto add = [&] {
    return store_->security_vectors().TrainSecurityVector(
        adding, Once("TrainSecurityVector"),
        [](const SecurityVectorRecord& record) { return record.job_id; });
  };
  EXPECT_THAT(add(), is_refused);
  WT_ASSERT_OK(store_->models().OfferBaseModels({{kModel, Sha256Hex("base"), "Llama", 9, 64}}));
  WT_EXPECT_OK(Activate(2));
  WT_EXPECT_OK(add());
}

TEST_F(MetadataStoreTest, ADatasetInUseStaysAndAnOldEtagIsAborted) {
  ActivateVector();
  const std::string job = AddJob("acme");
  const std::string dataset = store_->jobs().GetJob("acme", job).value().dataset_id;
  auto remove = [&](const std::string& etag) {
    return store_->datasets().DeleteDataset("acme", dataset, etag, Once("Delete"),
                                            IdOf<DatasetRecord>);
  };
  EXPECT_THAT(remove(""), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(job)));
  WT_ASSERT_OK(Cancel("acme", job));
  EXPECT_THAT(remove("0"), StatusIs(absl::StatusCode::kAborted));
  WT_EXPECT_OK(remove(store_->datasets().GetDataset("acme", dataset).value().etag));
  EXPECT_THAT(store_->datasets().GetDataset("acme", dataset),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_EQ(store_->maintenance().ReferencedBlobs().value().count(Sha256Hex(dataset)), 0u);
}

TEST_F(MetadataStoreTest, ARejectedDatasetKeepsOnlyItsReport) {
  const std::string id = AddDataset("acme");
  WT_ASSERT_OK(store_->datasets().RecordReceived("acme", id, 10));
  const DatasetRecord rejected = store_->datasets().RejectDataset("acme", id, "bad").value();
  EXPECT_EQ(rejected.state, DatasetState::kRejected);
  EXPECT_EQ(rejected.received_bytes, 0);
  EXPECT_EQ(rejected.report, "bad");
  EXPECT_THAT(store_->datasets().RecordReceived("acme", id, 10),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("REJECTED")));
}

TEST_F(MetadataStoreTest, TheByteQuotaCountsAllDatasets) {
  AddTenant("small", 0, 100);
  const std::string first = AddDataset("small");
  const std::string second = AddDataset("small");
  WT_EXPECT_OK(store_->datasets().RecordReceived("small", first, 60));
  WT_EXPECT_OK(store_->datasets().RecordReceived("small", second, 40));
  const absl::Status refused = store_->datasets().RecordReceived("small", second, 41);
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(ReasonOf(refused), kReasonDatasetBytesQuota);
  EXPECT_THAT(store_->datasets().CreateDataset("small", "", Once("Create"), IdOf<DatasetRecord>),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST_F(MetadataStoreTest, TheNumberOfDatasetsIsBounded) {
  options_.max_datasets = 2;
  Open();
  AddTenant("few");
  const std::string first = AddDataset("few");
  AddDataset("few");
  const auto third =
      store_->datasets().CreateDataset("few", "rows", Once("CreateDataset"), IdOf<DatasetRecord>);
  EXPECT_THAT(third, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(ReasonOf(third.status()), kReasonDatasetsQuota);
  WT_ASSERT_OK(store_->datasets().DeleteDataset("few", first, "", Once("DeleteDataset"),
                                                IdOf<DatasetRecord>));
  AddDataset("few");
}

TEST_F(MetadataStoreTest, OfAHundredParallelCreatesAtTheQuotaExactlyOneSucceeds) {
  ActivateVector();
  AddTenant("busy", 3);
  const std::string dataset = AddReadyDataset("busy");
  WT_ASSERT_OK(CreateJob("busy", dataset));
  WT_ASSERT_OK(CreateJob("busy", dataset));
  std::atomic<int> accepted{0}, refused{0};
  {
    ThreadPool pool(16, 200);
    for (int i = 0; i < 100; ++i) {
      ASSERT_TRUE(pool.Schedule([&] {
        const auto answer = CreateJob("busy", dataset);
        if (answer.ok()) ++accepted;
        if (ReasonOf(answer.status()) == kReasonActiveJobsQuota) ++refused;
      }));
    }
  }
  EXPECT_EQ(accepted, 1);
  EXPECT_EQ(refused, 99);
  EXPECT_EQ(store_->jobs().ListJobs("busy", std::nullopt, {}).value().items.size(), 3u);
}

TEST_F(MetadataStoreTest, ConcurrentWritersGetDistinctRowsAndOneFailureHarmsNoOther) {
  std::atomic<int> accepted{0}, refused{0};
  {
    ThreadPool pool(16, 200);
    for (int i = 0; i < 96; ++i) {
      ASSERT_TRUE(pool.Schedule([&, i] {
        const std::string tenant = i % 3 == 0 ? "nobody" : "acme";
        const auto answer = store_->datasets().CreateDataset(tenant, absl::StrCat(i),
                                                             Once("Create"), IdOf<DatasetRecord>);
        if (answer.ok()) ++accepted;
        if (absl::IsNotFound(answer.status())) ++refused;
      }));
    }
  }
  EXPECT_EQ(accepted, 64);
  EXPECT_EQ(refused, 32);
  EXPECT_EQ(store_->datasets().ListDatasets("acme", {100, ""}).value().items.size(), 64u);
}

TEST_F(MetadataStoreTest, PagesFollowEachOtherNewestFirst) {
  std::vector<std::string> made;
  for (int i = 0; i < 5; ++i) made.insert(made.begin(), AddDataset("acme"));
  std::vector<std::string> seen;
  PageRequest request{2, ""};
  do {
    const auto page = store_->datasets().ListDatasets("acme", request).value();
    EXPECT_LE(page.items.size(), 2u);
    for (const DatasetRecord& dataset : page.items) seen.push_back(dataset.id);
    request.page_token = page.next_page_token;
  } while (!request.page_token.empty());
  EXPECT_EQ(seen, made);
}

TEST_F(MetadataStoreTest, ForgedAndForeignPageTokensAreInvalid) {
  for (const char* tenant : {"acme", "evil"}) {
    AddDataset(tenant);
    AddDataset(tenant);
  }
  const std::string token = store_->datasets().ListDatasets("acme", {1, ""})->next_page_token;
  ASSERT_FALSE(token.empty());
  auto list = [&](const std::string& tenant, const std::string& t) {
    return store_->datasets().ListDatasets(tenant, {1, t}).status();
  };
  WT_EXPECT_OK(list("acme", token));
  EXPECT_THAT(list("evil", token), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(store_->jobs().ListJobs("acme", std::nullopt, {1, token}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(list("acme", "MTIz"), StatusIs(absl::StatusCode::kInvalidArgument));
  for (size_t i = 0; i < token.size(); ++i) {
    std::string forged = token;
    forged[i] = forged[i] == 'A' ? 'B' : 'A';
    if (i + 1 < token.size()) {
      EXPECT_THAT(list("acme", forged), StatusIs(absl::StatusCode::kInvalidArgument)) << i;
    }
  }
  EXPECT_THAT(store_->datasets().ListDatasets("acme", {1001, ""}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(MetadataStoreTest, ListsJobsByState) {
  ActivateVector();
  const std::string first = AddJob("acme");
  const std::string second = AddJob("acme");
  WT_ASSERT_OK(Cancel("acme", first));
  const auto page = store_->jobs().ListJobs("acme", JobState::kQueued, {}).value();
  ASSERT_EQ(page.items.size(), 1u);
  EXPECT_EQ(page.items[0].id, second);
}

}  // namespace
}  // namespace wardtune
