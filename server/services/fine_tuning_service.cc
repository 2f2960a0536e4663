#include "server/handlers/fine_tuning_handlers.h"
#include "server/rpc/call_runner.h"
#include "server/rpc/stream_reactors.h"
#include "server/services/services.h"
#include "wardtune/v1/fine_tuning_service.grpc.pb.h"

namespace wardtune {
namespace {

constexpr Method kCreateFineTuningJob = {"FineTuningService/CreateFineTuningJob",
                                         Access::kCustomer};
constexpr Method kGetFineTuningJob = {"FineTuningService/GetFineTuningJob", Access::kCustomer};
constexpr Method kListFineTuningJobs = {"FineTuningService/ListFineTuningJobs", Access::kCustomer};
constexpr Method kCancelFineTuningJob = {"FineTuningService/CancelFineTuningJob",
                                         Access::kCustomer};
constexpr Method kWatchFineTuningJob = {"FineTuningService/WatchFineTuningJob", Access::kCustomer};

class FineTuningService final : public v1::FineTuningService::CallbackService {
 public:
  FineTuningService(HandlerContext& context, CallRunner& runner)
      : context_(context), runner_(runner) {}

  grpc::ServerUnaryReactor* CreateFineTuningJob(
      grpc::CallbackServerContext* call, const v1::CreateFineTuningJobRequest* request,
      v1::CreateFineTuningJobResponse* response) override {
    return runner_.Unary(call, kCreateFineTuningJob, response,
                         [this, request](const Caller& caller) {
                           return wardtune::CreateFineTuningJob(context_, caller, *request);
                         });
  }

  grpc::ServerUnaryReactor* GetFineTuningJob(grpc::CallbackServerContext* call,
                                             const v1::GetFineTuningJobRequest* request,
                                             v1::GetFineTuningJobResponse* response) override {
    return runner_.Unary(call, kGetFineTuningJob, response, [this, request](const Caller& caller) {
      return wardtune::GetFineTuningJob(context_, caller, *request);
    });
  }

  grpc::ServerUnaryReactor* ListFineTuningJobs(grpc::CallbackServerContext* call,
                                               const v1::ListFineTuningJobsRequest* request,
                                               v1::ListFineTuningJobsResponse* response) override {
    return runner_.Unary(call, kListFineTuningJobs, response,
                         [this, request](const Caller& caller) {
                           return wardtune::ListFineTuningJobs(context_, caller, *request);
                         });
  }

  grpc::ServerUnaryReactor* CancelFineTuningJob(
      grpc::CallbackServerContext* call, const v1::CancelFineTuningJobRequest* request,
      v1::CancelFineTuningJobResponse* response) override {
    return runner_.Unary(call, kCancelFineTuningJob, response,
                         [this, request](const Caller& caller) {
                           return wardtune::CancelFineTuningJob(context_, caller, *request);
                         });
  }

  grpc::ServerWriteReactor<v1::WatchFineTuningJobResponse>* WatchFineTuningJob(
      grpc::CallbackServerContext* call, const v1::WatchFineTuningJobRequest* request) override {
    return SendingReactor<v1::WatchFineTuningJobResponse>::Start(
        runner_, call, kWatchFineTuningJob, [this, request](const Caller& caller) {
          return wardtune::WatchFineTuningJob(context_, caller, *request);
        });
  }

 private:
  HandlerContext& context_;
  CallRunner& runner_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeFineTuningService(HandlerContext& context, CallRunner& runner) {
  return std::make_unique<FineTuningService>(context, runner);
}

}  // namespace wardtune
