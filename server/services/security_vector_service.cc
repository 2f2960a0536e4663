#include "server/handlers/security_vector_handlers.h"
#include "server/rpc/call_runner.h"
#include "server/services/services.h"
#include "wardtune/v1/security_vector_service.grpc.pb.h"

namespace wardtune {
namespace {

constexpr Method kCreateSafetySuite = {"SecurityVectorService/CreateSafetySuite",
                                       Access::kProvider};
constexpr Method kListSafetySuites = {"SecurityVectorService/ListSafetySuites", Access::kProvider};
constexpr Method kTrainSecurityVector = {"SecurityVectorService/TrainSecurityVector",
                                         Access::kProvider};
constexpr Method kGetSecurityVectorVersion = {"SecurityVectorService/GetSecurityVectorVersion",
                                              Access::kProvider};
constexpr Method kListSecurityVectorVersions = {"SecurityVectorService/ListSecurityVectorVersions",
                                                Access::kProvider};
constexpr Method kCancelSecurityVectorTraining = {
    "SecurityVectorService/CancelSecurityVectorTraining", Access::kProvider};
constexpr Method kActivateSecurityVectorVersion = {
    "SecurityVectorService/ActivateSecurityVectorVersion", Access::kProvider};

class SecurityVectorService final : public v1::SecurityVectorService::CallbackService {
 public:
  SecurityVectorService(HandlerContext& context, CallRunner& runner)
      : context_(context), runner_(runner) {}

  grpc::ServerUnaryReactor* CreateSafetySuite(grpc::CallbackServerContext* call,
                                              const v1::CreateSafetySuiteRequest* request,
                                              v1::CreateSafetySuiteResponse* response) override {
    return runner_.Unary(call, kCreateSafetySuite, response, [this, request](const Caller& caller) {
      return wardtune::CreateSafetySuite(context_, caller, *request);
    });
  }

  grpc::ServerUnaryReactor* ListSafetySuites(grpc::CallbackServerContext* call,
                                             const v1::ListSafetySuitesRequest* request,
                                             v1::ListSafetySuitesResponse* response) override {
    return runner_.Unary(call, kListSafetySuites, response, [this, request](const Caller& caller) {
      return wardtune::ListSafetySuites(context_, caller, *request);
    });
  }

  grpc::ServerUnaryReactor* TrainSecurityVector(
      grpc::CallbackServerContext* call, const v1::TrainSecurityVectorRequest* request,
      v1::TrainSecurityVectorResponse* response) override {
    return runner_.Unary(call, kTrainSecurityVector, response,
                         [this, request](const Caller& caller) {
                           return wardtune::TrainSecurityVector(context_, caller, *request);
                         });
  }

  grpc::ServerUnaryReactor* GetSecurityVectorVersion(
      grpc::CallbackServerContext* call, const v1::GetSecurityVectorVersionRequest* request,
      v1::GetSecurityVectorVersionResponse* response) override {
    return runner_.Unary(call, kGetSecurityVectorVersion, response,
                         [this, request](const Caller& caller) {
                           return wardtune::GetSecurityVectorVersion(context_, caller, *request);
                         });
  }

  grpc::ServerUnaryReactor* ListSecurityVectorVersions(
      grpc::CallbackServerContext* call, const v1::ListSecurityVectorVersionsRequest* request,
      v1::ListSecurityVectorVersionsResponse* response) override {
    return runner_.Unary(call, kListSecurityVectorVersions, response,
                         [this, request](const Caller& caller) {
                           return wardtune::ListSecurityVectorVersions(context_, caller, *request);
                         });
  }

  grpc::ServerUnaryReactor* CancelSecurityVectorTraining(
      grpc::CallbackServerContext* call, const v1::CancelSecurityVectorTrainingRequest* request,
      v1::CancelSecurityVectorTrainingResponse* response) override {
    return runner_.Unary(
        call, kCancelSecurityVectorTraining, response, [this, request](const Caller& caller) {
          return wardtune::CancelSecurityVectorTraining(context_, caller, *request);
        });
  }

  grpc::ServerUnaryReactor* ActivateSecurityVectorVersion(
      grpc::CallbackServerContext* call, const v1::ActivateSecurityVectorVersionRequest* request,
      v1::ActivateSecurityVectorVersionResponse* response) override {
    return runner_.Unary(
        call, kActivateSecurityVectorVersion, response, [this, request](const Caller& caller) {
          return wardtune::ActivateSecurityVectorVersion(context_, caller, *request);
        });
  }

 private:
  HandlerContext& context_;
  CallRunner& runner_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeSecurityVectorService(HandlerContext& context,
                                                         CallRunner& runner) {
  return std::make_unique<SecurityVectorService>(context, runner);
}

}  // namespace wardtune
