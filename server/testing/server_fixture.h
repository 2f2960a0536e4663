// The real server in the test's process: gRPC on a free port, SQLite and blobs in a folder of the
// test, a tiny model, and a clock that the test moves.
//
// Calls go through generated stubs over the network stack. The fixture plays the worker where a
// test needs work to be done.
#ifndef WARDTUNE_SERVER_TESTING_SERVER_FIXTURE_H_
#define WARDTUNE_SERVER_TESTING_SERVER_FIXTURE_H_

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/file_system.h"
#include "base/status_matchers.h"
#include "server/server_options.h"
#include "server/wardtune_server.h"
#include "storage/metadata_store.h"
#include "wardtune/v1/adapter_service.grpc.pb.h"
#include "wardtune/v1/admin_service.grpc.pb.h"
#include "wardtune/v1/dataset_service.grpc.pb.h"
#include "wardtune/v1/fine_tuning_service.grpc.pb.h"
#include "wardtune/v1/output_report_service.grpc.pb.h"
#include "wardtune/v1/security_vector_service.grpc.pb.h"
#include "wardtune/v1/worker_service.grpc.pb.h"

namespace wardtune::testing {

// A status as the client got it, with the reason in its google.rpc.ErrorInfo.
struct Outcome {
  grpc::StatusCode code = grpc::StatusCode::OK;
  std::string reason;
  std::string message;

  bool ok() const { return code == grpc::StatusCode::OK; }
  bool operator==(const Outcome&) const = default;
};
Outcome OutcomeOf(const grpc::Status& status);
std::ostream& operator<<(std::ostream& out, const Outcome& outcome);

MATCHER(Succeeds, "") { return arg.ok(); }
MATCHER_P(FailsWith, code, "") { return arg.code == code; }
MATCHER_P2(FailsWith, code, reason, "") { return arg.code == code && arg.reason == reason; }

// A client's context with a key and a deadline that ends a test that hangs.
class CallContext : public grpc::ClientContext {
 public:
  explicit CallContext(const std::string& key);
};

class ServerFixture : public ::testing::Test {
 protected:
  // One row that can be learned from.
  static constexpr char kRow[] = "{\"prompt\":\"2+2\",\"completion\":\"4\"}\n";

  // `options_` may be changed before StartServer().
  ServerFixture();
  ~ServerFixture() override;

  // Starts the server; again after it was shut down, as a restart would.
  void StartServer();
  // Makes the tenants acme and rival with a key each.
  void AddTenants();
  // Revokes the only key of a tenant.
  void RevokeKeyOf(const std::string& tenant);
  // Ten prompts of each category, as the results of GoodResult count them.
  static std::string SuitePrompts(const std::vector<std::string>& categories,
                                  const std::string& text = "p");
  void AddSuite(const std::string& id, const std::string& prompts, const std::string& rules);
  // Trains and activates a security vector, all through the API; `sealed` stands for its bytes.
  void ActivateVector(const std::string& sealed = "sealed vector");

  template <typename Service>
  std::unique_ptr<typename Service::Stub> StubOf() {
    return Service::NewStub(channel_);
  }
  // One unary call: Call(&v1::DatasetService::Stub::GetDataset, key, request, response).
  template <typename Stub, typename Request, typename Response>
  Outcome Call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
               const std::string& key, const Request& request, Response& response) {
    Stub stub(channel_);
    CallContext context(key);
    return OutcomeOf((stub.*method)(&context, request, &response));
  }

  // Customers.
  std::string AddDataset(const std::string& key);
  Outcome Upload(const std::string& key, const v1::UploadDatasetRequest::Header& header,
                 const std::string& bytes, v1::UploadDatasetResponse* response = nullptr);
  v1::Dataset GetDataset(const std::string& key, const std::string& name);
  std::string AddReadyDataset(const std::string& key);
  v1::CreateFineTuningJobRequest JobRequest(const std::string& dataset);
  // The name of a job that is queued.
  std::string AddJob(const std::string& key);
  v1::FineTuningJob GetJob(const std::string& key, const std::string& name);

  // The worker.
  v1::Lease LeaseWork();
  Outcome UploadArtifact(const v1::Lease& lease, v1::UploadArtifactRequest::Kind kind,
                         const std::string& bytes);
  // A result that passes every check.
  v1::CompleteJobRequest GoodResult(const v1::Lease& lease, const std::string& artifact);
  // Makes a score of GoodResult's one with `harmful` answers of `safety`, and so of the sum.
  static void SetHarmful(v1::SafetyReport& report, int32_t harmful);
  Outcome Complete(const v1::CompleteJobRequest& request);
  // Leases the next work and completes it with `artifact`.
  v1::Lease DoWork(const std::string& artifact);

  std::string folder_;
  FakeClock clock_;
  PosixFileSystem files_;
  ServerOptions options_;
  std::ostringstream log_;  // read it after Shutdown() alone
  std::unique_ptr<WardtuneServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::string provider_key_, worker_key_, acme_key_, rival_key_;
  // Of the suite that ActivateVector makes, beside `safety`; sorts before it.
  std::string other_category_ = "privacy";
};

}  // namespace wardtune::testing

#endif  // WARDTUNE_SERVER_TESTING_SERVER_FIXTURE_H_
