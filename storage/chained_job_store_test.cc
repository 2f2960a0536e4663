// Jobs that start from an adapter: what they pin, and what the collector must leave.
#include <set>
#include <string>

#include "storage/error_reason.h"
#include "storage/sqlite_database.h"
#include "storage/sqlite_migrations.h"
#include "storage/store_fixture.h"

namespace wardtune {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using testing::IsOk;
using ::testing::Not;
using testing::StatusIs;

class ChainedJobStoreTest : public testing::StoreFixture {
 protected:
  ChainedJobStoreTest() {
    AddTenant("acme");
    AddTenant("rival");
    ActivateVector();
  }

  // The id of the adapter that the oldest queued job ends with.
  std::string FinishNext(const std::string& artefact) {
    WT_EXPECT_OK(Finish(Lease(), artefact));
    return store_->jobs().ListAdapters("acme", {}).value().items[0].id;
  }
  absl::StatusOr<Answer> CreateFrom(const std::string& start, const std::string& tenant = "acme") {
    return store_->jobs().CreateJob({tenant, "job", AddReadyDataset(tenant), kModel, "spec",
                                     "estimate", start, Sha256Hex("tensors")},
                                    {}, IdOf<JobRecord>);
  }
  std::set<std::string> Referenced() { return store_->maintenance().ReferencedBlobs().value(); }
  // As a deletion would; there is none yet.
  void DeleteAdapter(const std::string& id) {
    store_.reset();
    {
      auto database = Database::Open(options_.path).value();
      WT_ASSERT_OK(database->Run("DELETE FROM adapter WHERE id = ?", id).status());
    }
    Open();
  }
};

TEST_F(ChainedJobStoreTest, ALeaseNamesTheStartAndAChainCounts) {
  AddJob("acme");
  const std::string first = FinishNext("first");
  WT_ASSERT_OK_AND_ASSIGN(const Answer made, CreateFrom(first));
  const LeaseRecord lease = Lease();
  EXPECT_EQ(lease.job.id, made.response);
  EXPECT_EQ(lease.job.start_adapter_id, first);
  EXPECT_EQ(lease.job.start_tensors_sha256, Sha256Hex("tensors"));
  EXPECT_EQ(lease.job.chain_length, 2);
  ASSERT_FALSE(lease.inputs.empty());
  EXPECT_EQ(lease.inputs.back().kind, InputKind::kStartAdapter);
  EXPECT_EQ(lease.inputs.back().blob.sha256, Sha256Hex("first"));
  EXPECT_EQ(lease.inputs.back().blob.size_bytes, 11);
  WT_ASSERT_OK(Finish(lease, "second"));
  const AdapterRecord second = store_->jobs().ListAdapters("acme", {}).value().items[0];
  EXPECT_EQ(second.start_adapter_id, first);
  EXPECT_EQ(second.chain_length, 2);
  EXPECT_EQ(second.spec, "spec");
  EXPECT_EQ(second.base_sha256, Sha256Hex("base"));
  EXPECT_EQ(store_->jobs().GetAdapter("acme", first)->chain_length, 1);
  WT_ASSERT_OK(CreateFrom(second.id));
  EXPECT_EQ(Lease().job.chain_length, 3);
}

TEST_F(ChainedJobStoreTest, TheStartStaysUntilTheJobHasEnded) {
  AddJob("acme");
  const std::string start = FinishNext("start");
  WT_ASSERT_OK_AND_ASSIGN(const Answer made, CreateFrom(start));
  DeleteAdapter(start);
  EXPECT_THAT(Referenced(), Contains(Sha256Hex("start")));  // queued
  const LeaseRecord lease = Lease();
  EXPECT_THAT(Referenced(), Contains(Sha256Hex("start")));
  EXPECT_EQ(store_->work().GetLease(lease.job.id, 1)->inputs.back().blob.sha256,
            Sha256Hex("start"));
  WT_ASSERT_OK(Cancel("acme", lease.job.id).status());
  EXPECT_THAT(Referenced(), Contains(Sha256Hex("start"))) << "the worker has not stopped yet";
  WT_ASSERT_OK(store_->work().Fail(lease.job.id, 1, {"", "", false, true}));
  EXPECT_THAT(Referenced(), Not(Contains(Sha256Hex("start"))));
  EXPECT_THAT(CreateFrom(start), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(ChainedJobStoreTest, AForeignAQuarantinedAndAnOutdatedStartAreRefused) {
  AddJob("acme");
  const std::string start = FinishNext("start");
  EXPECT_THAT(CreateFrom(start, "rival"), StatusIs(absl::StatusCode::kNotFound));

  EXPECT_EQ(ReasonOf(CreateFrom(AddQuarantined("acme").adapter_id).status()),
            kReasonAdapterQuarantined);

  // The model's files change, and a vector is made for them.
  WT_ASSERT_OK(store_->models().OfferBaseModels({{kModel, Sha256Hex("new"), "Llama", 9, 64}}));
  WT_ASSERT_OK(store_->security_vectors().TrainSecurityVector(
      {"shield", kModel, AddReadyDataset(kProviderTenant), AddReadyDataset(kProviderTenant),
       "suite", "recipe"},
      Once("TrainSecurityVector"),
      [](const SecurityVectorRecord& record) { return record.job_id; }));
  WT_ASSERT_OK(Finish(Lease(), "sealed anew"));
  WT_ASSERT_OK(Activate(2));
  EXPECT_EQ(ReasonOf(CreateFrom(start).status()), kReasonStartBaseChanged);
}

TEST_F(ChainedJobStoreTest, WhatAJobStartsFromIsNeverChanged) {
  AddJob("acme");
  const std::string start = FinishNext("start");
  WT_ASSERT_OK(CreateFrom(start));
  store_.reset();
  auto database = Database::Open(options_.path).value();
  for (const char* broken :
       {"UPDATE job SET chain_length = 3 WHERE state = 1",
        "UPDATE job SET start_adapter_id = 'other' WHERE state = 1",
        "UPDATE job SET start_tensors_sha256 = start_sha256 WHERE state = 1"}) {
    EXPECT_THAT(database->Execute(broken),
                StatusIs(absl::StatusCode::kInternal, HasSubstr("never changed")))
        << broken;
  }
}

}  // namespace
}  // namespace wardtune
