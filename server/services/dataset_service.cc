#include "server/handlers/dataset_handlers.h"
#include "server/handlers/upload_dataset_call.h"
#include "server/rpc/call_runner.h"
#include "server/rpc/stream_reactors.h"
#include "server/services/services.h"
#include "wardtune/v1/dataset_service.grpc.pb.h"

namespace wardtune {
namespace {

constexpr Method kCreateDataset = {"DatasetService/CreateDataset", Access::kCustomer};
constexpr Method kUploadDataset = {"DatasetService/UploadDataset", Access::kCustomer};
constexpr Method kGetDataset = {"DatasetService/GetDataset", Access::kCustomer};
constexpr Method kListDatasets = {"DatasetService/ListDatasets", Access::kCustomer};
constexpr Method kDeleteDataset = {"DatasetService/DeleteDataset", Access::kCustomer};
constexpr Method kGetValidationReport = {"DatasetService/GetValidationReport", Access::kCustomer};

class DatasetService final : public v1::DatasetService::CallbackService {
 public:
  DatasetService(HandlerContext& context, CallRunner& runner)
      : context_(context), runner_(runner) {}

  grpc::ServerUnaryReactor* CreateDataset(grpc::CallbackServerContext* call,
                                          const v1::CreateDatasetRequest* request,
                                          v1::CreateDatasetResponse* response) override {
    return runner_.Unary(call, kCreateDataset, response, [this, request](const Caller& caller) {
      return wardtune::CreateDataset(context_, caller, *request);
    });
  }

  grpc::ServerReadReactor<v1::UploadDatasetRequest>* UploadDataset(
      grpc::CallbackServerContext* call, v1::UploadDatasetResponse* response) override {
    return ReceivingReactor<v1::UploadDatasetRequest, v1::UploadDatasetResponse>::Start(
        runner_, call, kUploadDataset, response,
        [this](const Caller& caller)
            -> absl::StatusOr<std::unique_ptr<
                ReceivingCall<v1::UploadDatasetRequest, v1::UploadDatasetResponse>>> {
          return std::make_unique<UploadDatasetCall>(context_, caller);
        });
  }

  grpc::ServerUnaryReactor* GetDataset(grpc::CallbackServerContext* call,
                                       const v1::GetDatasetRequest* request,
                                       v1::GetDatasetResponse* response) override {
    return runner_.Unary(call, kGetDataset, response, [this, request](const Caller& caller) {
      return wardtune::GetDataset(context_, caller, *request);
    });
  }

  grpc::ServerUnaryReactor* ListDatasets(grpc::CallbackServerContext* call,
                                         const v1::ListDatasetsRequest* request,
                                         v1::ListDatasetsResponse* response) override {
    return runner_.Unary(call, kListDatasets, response, [this, request](const Caller& caller) {
      return wardtune::ListDatasets(context_, caller, *request);
    });
  }

  grpc::ServerUnaryReactor* DeleteDataset(grpc::CallbackServerContext* call,
                                          const v1::DeleteDatasetRequest* request,
                                          v1::DeleteDatasetResponse* response) override {
    return runner_.Unary(call, kDeleteDataset, response, [this, request](const Caller& caller) {
      return wardtune::DeleteDataset(context_, caller, *request);
    });
  }

  grpc::ServerUnaryReactor* GetValidationReport(
      grpc::CallbackServerContext* call, const v1::GetValidationReportRequest* request,
      v1::GetValidationReportResponse* response) override {
    return runner_.Unary(call, kGetValidationReport, response,
                         [this, request](const Caller& caller) {
                           return wardtune::GetValidationReport(context_, caller, *request);
                         });
  }

 private:
  HandlerContext& context_;
  CallRunner& runner_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeDatasetService(HandlerContext& context, CallRunner& runner) {
  return std::make_unique<DatasetService>(context, runner);
}

}  // namespace wardtune
