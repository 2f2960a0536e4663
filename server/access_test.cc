// Who may call what, and what a server says of itself.
#include <google/protobuf/descriptor.h>
#include <grpcpp/generic/generic_stub.h>

#include <filesystem>
#include <map>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/api_key.h"
#include "server/testing/server_fixture.h"

namespace wardtune {
namespace {

using testing::FailsWith;
using ::testing::HasSubstr;
using testing::Outcome;

// One entry a service; a new one without an entry fails the test.
const std::map<std::string, std::set<std::string>>& AllowedRoles() {
  static const auto& allowed = *new std::map<std::string, std::set<std::string>>{
      {"DatasetService", {"tenant", "provider"}},
      {"FineTuningService", {"tenant", "provider"}},
      {"AdapterService", {"tenant", "provider"}},
      {"ModelService", {"tenant", "provider"}},
      {"OutputReportService", {"tenant", "provider"}},
      {"SecurityVectorService", {"provider"}},
      {"AdminService", {"provider"}},
      {"WorkerService", {"worker"}}};
  return allowed;
}

class AccessTest : public testing::ServerFixture {
 protected:
  AccessTest() {
    StartServer();
    AddTenants();
  }

  // Sends one empty message to any method; streams take it too.
  Outcome CallAny(const std::string& method, const std::string& key) {
    return CallBytes(method, key, grpc::ByteBuffer(nullptr, 0), nullptr);
  }

  Outcome CallBytes(const std::string& method, const std::string& key, grpc::ByteBuffer request,
                    std::string* answer) {
    grpc::GenericStub stub(channel_);
    testing::CallContext context(key);
    grpc::CompletionQueue queue;
    const auto call = stub.PrepareUnaryCall(&context, method, request, &queue);
    call->StartCall();
    grpc::ByteBuffer response;
    grpc::Status status;
    call->Finish(&response, &status, this);
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    if (answer != nullptr) {
      grpc::Slice slice;
      if (response.Valid() && response.DumpToSingleSlice(&slice).ok()) {
        *answer = std::string(slice.begin(), slice.end());
      }
    }
    return testing::OutcomeOf(status);
  }

  Outcome GetWith(const std::string& key) {
    return CallAny("/wardtune.v1.DatasetService/ListDatasets", key);
  }

  // Every method of the contract, as `/package.Service/Method`, by its service.
  static std::multimap<std::string, std::string> Methods() {
    std::multimap<std::string, std::string> methods;
    const auto* pool = google::protobuf::DescriptorPool::generated_pool();
    for (const char* file :
         {"adapter_service", "admin_service", "dataset_service", "fine_tuning_service",
          "model_service", "output_report_service", "security_vector_service", "worker_service"}) {
      const auto* descriptor = pool->FindFileByName(absl::StrCat("wardtune/v1/", file, ".proto"));
      if (descriptor == nullptr) continue;
      const auto* service = descriptor->service(0);
      for (int i = 0; i < service->method_count(); ++i) {
        methods.emplace(service->name(),
                        absl::StrCat("/", service->full_name(), "/", service->method(i)->name()));
      }
    }
    return methods;
  }
};

TEST_F(AccessTest, EachRoleReachesItsServicesAlone) {
  const std::map<std::string, std::string> keys = {
      {"tenant", acme_key_}, {"provider", provider_key_}, {"worker", worker_key_}};
  const auto methods = Methods();
  EXPECT_GE(methods.size(), 40u);
  for (const auto& [service, method] : methods) {
    ASSERT_TRUE(AllowedRoles().contains(service)) << service;
    for (const auto& [role, key] : keys) {
      const Outcome outcome = CallAny(method, key);
      const bool allowed = AllowedRoles().at(service).contains(role);
      EXPECT_EQ(outcome.code == grpc::StatusCode::PERMISSION_DENIED, !allowed)
          << role << " calls " << method << ": " << outcome;
      EXPECT_NE(outcome.code, grpc::StatusCode::UNAUTHENTICATED) << method;
    }
    EXPECT_THAT(CallAny(method, ""), FailsWith(grpc::StatusCode::UNAUTHENTICATED)) << method;
  }
}

TEST_F(AccessTest, MalformedKeysAreNoGuesses) {
  std::string wrong_checksum = acme_key_;
  wrong_checksum.back() = wrong_checksum.back() == 'a' ? 'b' : 'a';
  for (int i = 0; i < 50; ++i) {
    for (const std::string& key : {wrong_checksum, std::string("nonsense"), acme_key_ + "x"}) {
      EXPECT_THAT(GetWith(key), FailsWith(grpc::StatusCode::UNAUTHENTICATED));
    }
  }
  EXPECT_THAT(GetWith(rival_key_), testing::Succeeds());
}

TEST_F(AccessTest, AGuesserIsRefusedForAWhileAndItsNeighboursAreNot) {
  EXPECT_THAT(GetWith(acme_key_), testing::Succeeds());
  Outcome last;
  for (int i = 0; i < 31; ++i) last = GetWith(MintApiKey(KeyRole::kTenant));
  EXPECT_THAT(last, FailsWith(grpc::StatusCode::RESOURCE_EXHAUSTED, "TOO_MANY_INVALID_KEYS"));
  EXPECT_THAT(GetWith(acme_key_), testing::Succeeds());
  clock_.Advance(absl::Minutes(1));
  EXPECT_THAT(GetWith(MintApiKey(KeyRole::kTenant)), FailsWith(grpc::StatusCode::UNAUTHENTICATED));
}

TEST_F(AccessTest, AServerThatDoesNotStopIsServing) {
  std::string answer;
  EXPECT_THAT(CallBytes("/grpc.health.v1.Health/Check", "", grpc::ByteBuffer(nullptr, 0), &answer),
              testing::Succeeds());
  EXPECT_EQ(answer, "\x08\x01");  // status: SERVING
}

TEST_F(AccessTest, ReflectionListsTheServices) {
  // ServerReflectionRequest{list_services: ""}
  const grpc::Slice request("\x3a\x00", 2);
  std::string answer;
  CallBytes("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "",
            grpc::ByteBuffer(&request, 1), &answer);
  for (const auto& [service, roles] : AllowedRoles()) {
    EXPECT_THAT(answer, HasSubstr("wardtune.v1." + service));
  }
}

TEST_F(AccessTest, AnInterruptedFirstStartLosesNoKey) {
  server_->Shutdown();
  // The file is there, and the database is as before it.
  std::filesystem::remove_all(options_.data_dir);
  const std::string before = worker_key_;
  StartServer();
  EXPECT_EQ(worker_key_, before);
  EXPECT_THAT(CallAny("/wardtune.v1.AdminService/ListTenants", provider_key_), testing::Succeeds());
  EXPECT_THAT(CallAny("/wardtune.v1.WorkerService/LeaseJob", worker_key_),
              FailsWith(grpc::StatusCode::INVALID_ARGUMENT));
}

TEST_F(AccessTest, ListeningInTheOpenIsWarnedOf) {
  server_->Shutdown();
  EXPECT_THAT(log_.str(), ::testing::Not(HasSubstr("no TLS")));
  options_.listen = "0.0.0.0:0";
  StartServer();
  server_->Shutdown();
  EXPECT_THAT(log_.str(), HasSubstr("no TLS"));
}

}  // namespace
}  // namespace wardtune
