// The provider's calls about tenants: what a change changes, and what it refuses.
#include <string>

#include "server/testing/server_fixture.h"

namespace wardtune {
namespace {

using testing::FailsWith;
using ::testing::HasSubstr;
using testing::Outcome;
using testing::Succeeds;
using Admin = v1::AdminService::Stub;
using Jobs = v1::FineTuningService::Stub;

class TenantRpcsTest : public testing::ServerFixture {
 protected:
  TenantRpcsTest() {
    StartServer();
    AddTenants();
    ActivateVector();
    change_.mutable_tenant()->set_name("tenants/acme");
  }

  Outcome Update() { return Call(&Admin::UpdateTenant, provider_key_, change_, updated_); }
  Outcome CreateJob(const std::string& dataset) {
    v1::CreateFineTuningJobResponse response;
    return Call(&Jobs::CreateFineTuningJob, acme_key_, JobRequest(dataset), response);
  }

  v1::UpdateTenantRequest change_;
  v1::UpdateTenantResponse updated_;
};

// Customers were told to ask for a larger quota, which no call could give.
TEST_F(TenantRpcsTest, AChangedLimitHoldsFromTheNextCallOn) {
  const std::string dataset = AddReadyDataset(acme_key_);
  change_.mutable_tenant()->set_max_active_jobs(1);
  change_.mutable_update_mask()->add_paths("max_active_jobs");
  ASSERT_THAT(Update(), Succeeds());
  EXPECT_THAT(CreateJob(dataset), Succeeds());
  EXPECT_THAT(CreateJob(dataset),
              FailsWith(grpc::StatusCode::RESOURCE_EXHAUSTED, "ACTIVE_JOBS_QUOTA_EXCEEDED"));
  change_.mutable_tenant()->set_max_active_jobs(2);
  ASSERT_THAT(Update(), Succeeds());
  EXPECT_THAT(CreateJob(dataset), Succeeds());
}

TEST_F(TenantRpcsTest, WhatTheMaskDoesNotListStays) {
  v1::Tenant& tenant = *change_.mutable_tenant();
  tenant.set_display_name("Acme");
  tenant.set_max_active_jobs(7);
  tenant.set_max_dataset_bytes(1 << 20);
  for (const char* path : {"display_name", "max_active_jobs", "max_dataset_bytes"}) {
    change_.mutable_update_mask()->add_paths(path);
  }
  ASSERT_THAT(Update(), Succeeds());
  tenant.Clear();
  tenant.set_name("tenants/acme");
  change_.mutable_update_mask()->clear_paths();
  change_.mutable_update_mask()->add_paths("max_dataset_bytes");
  ASSERT_THAT(Update(), Succeeds());
  EXPECT_EQ(updated_.tenant().display_name(), "Acme");
  EXPECT_EQ(updated_.tenant().max_active_jobs(), 7);
  EXPECT_EQ(updated_.tenant().max_dataset_bytes(), 0);
  EXPECT_TRUE(updated_.tenant().has_create_time());
}

TEST_F(TenantRpcsTest, AMaskThatNamesNothingToChangeIsRefused) {
  EXPECT_THAT(Update(), FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
  change_.mutable_update_mask()->add_paths("name");
  const Outcome refused = Update();
  EXPECT_THAT(refused, FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(refused.message, HasSubstr("update_mask"));
}

TEST_F(TenantRpcsTest, NegativeLimitsUnknownTenantsAndTheProviderAreRefused) {
  change_.mutable_update_mask()->add_paths("max_active_jobs");
  change_.mutable_tenant()->set_max_active_jobs(-1);
  EXPECT_THAT(Update(), FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
  change_.mutable_tenant()->set_max_active_jobs(1);
  change_.mutable_tenant()->set_name("tenants/provider");
  EXPECT_THAT(Update(), FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
  change_.mutable_tenant()->set_name("tenants/nobody");
  EXPECT_THAT(Update(), FailsWith(grpc::StatusCode::NOT_FOUND));
}

}  // namespace
}  // namespace wardtune
