#include "server/handlers/adapter_audit_handlers.h"
#include "server/handlers/adapter_handlers.h"
#include "server/rpc/call_runner.h"
#include "server/rpc/stream_reactors.h"
#include "server/services/services.h"
#include "wardtune/v1/adapter_service.grpc.pb.h"

namespace wardtune {
namespace {

constexpr Method kGetAdapter = {"AdapterService/GetAdapter", Access::kCustomer};
constexpr Method kListAdapters = {"AdapterService/ListAdapters", Access::kCustomer};
constexpr Method kDownloadAdapter = {"AdapterService/DownloadAdapter", Access::kCustomer};
constexpr Method kListAdapterAudits = {"AdapterService/ListAdapterAudits", Access::kCustomer};

class AdapterService final : public v1::AdapterService::CallbackService {
 public:
  AdapterService(HandlerContext& context, CallRunner& runner)
      : context_(context), runner_(runner) {}

  grpc::ServerUnaryReactor* GetAdapter(grpc::CallbackServerContext* call,
                                       const v1::GetAdapterRequest* request,
                                       v1::GetAdapterResponse* response) override {
    return runner_.Unary(call, kGetAdapter, response, [this, request](const Caller& caller) {
      return wardtune::GetAdapter(context_, caller, *request);
    });
  }

  grpc::ServerUnaryReactor* ListAdapters(grpc::CallbackServerContext* call,
                                         const v1::ListAdaptersRequest* request,
                                         v1::ListAdaptersResponse* response) override {
    return runner_.Unary(call, kListAdapters, response, [this, request](const Caller& caller) {
      return wardtune::ListAdapters(context_, caller, *request);
    });
  }

  grpc::ServerWriteReactor<v1::DownloadAdapterResponse>* DownloadAdapter(
      grpc::CallbackServerContext* call, const v1::DownloadAdapterRequest* request) override {
    return SendingReactor<v1::DownloadAdapterResponse>::Start(
        runner_, call, kDownloadAdapter, [this, request](const Caller& caller) {
          return wardtune::DownloadAdapter(context_, caller, *request);
        });
  }

  grpc::ServerUnaryReactor* ListAdapterAudits(grpc::CallbackServerContext* call,
                                              const v1::ListAdapterAuditsRequest* request,
                                              v1::ListAdapterAuditsResponse* response) override {
    return runner_.Unary(call, kListAdapterAudits, response, [this, request](const Caller& caller) {
      return wardtune::ListAdapterAudits(context_, caller, *request);
    });
  }

 private:
  HandlerContext& context_;
  CallRunner& runner_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeAdapterService(HandlerContext& context, CallRunner& runner) {
  return std::make_unique<AdapterService>(context, runner);
}

}  // namespace wardtune
