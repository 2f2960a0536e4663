#include "server/handlers/model_handlers.h"
#include "server/rpc/call_runner.h"
#include "server/services/services.h"
#include "wardtune/v1/model_service.grpc.pb.h"

namespace wardtune {
namespace {

constexpr Method kGetBaseModel = {"ModelService/GetBaseModel", Access::kCustomer};
constexpr Method kListBaseModels = {"ModelService/ListBaseModels", Access::kCustomer};

class ModelService final : public v1::ModelService::CallbackService {
 public:
  ModelService(HandlerContext& context, CallRunner& runner) : context_(context), runner_(runner) {}

  grpc::ServerUnaryReactor* GetBaseModel(grpc::CallbackServerContext* call,
                                         const v1::GetBaseModelRequest* request,
                                         v1::GetBaseModelResponse* response) override {
    return runner_.Unary(call, kGetBaseModel, response, [this, request](const Caller& caller) {
      return wardtune::GetBaseModel(context_, caller, *request);
    });
  }

  grpc::ServerUnaryReactor* ListBaseModels(grpc::CallbackServerContext* call,
                                           const v1::ListBaseModelsRequest* request,
                                           v1::ListBaseModelsResponse* response) override {
    return runner_.Unary(call, kListBaseModels, response, [this, request](const Caller& caller) {
      return wardtune::ListBaseModels(context_, caller, *request);
    });
  }

 private:
  HandlerContext& context_;
  CallRunner& runner_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeModelService(HandlerContext& context, CallRunner& runner) {
  return std::make_unique<ModelService>(context, runner);
}

}  // namespace wardtune
