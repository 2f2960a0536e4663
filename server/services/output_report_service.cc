#include "server/handlers/output_report_handlers.h"
#include "server/rpc/call_runner.h"
#include "server/services/services.h"
#include "wardtune/v1/output_report_service.grpc.pb.h"

namespace wardtune {
namespace {

constexpr Method kReportOutput = {"OutputReportService/ReportOutput", Access::kCustomer};
constexpr Method kGetOutputReport = {"OutputReportService/GetOutputReport", Access::kCustomer};
constexpr Method kListOutputReports = {"OutputReportService/ListOutputReports", Access::kCustomer};

class OutputReportService final : public v1::OutputReportService::CallbackService {
 public:
  OutputReportService(HandlerContext& context, CallRunner& runner)
      : context_(context), runner_(runner) {}

  grpc::ServerUnaryReactor* ReportOutput(grpc::CallbackServerContext* call,
                                         const v1::ReportOutputRequest* request,
                                         v1::ReportOutputResponse* response) override {
    return runner_.Unary(call, kReportOutput, response, [this, request](const Caller& caller) {
      return wardtune::ReportOutput(context_, caller, *request);
    });
  }

  grpc::ServerUnaryReactor* GetOutputReport(grpc::CallbackServerContext* call,
                                            const v1::GetOutputReportRequest* request,
                                            v1::GetOutputReportResponse* response) override {
    return runner_.Unary(call, kGetOutputReport, response, [this, request](const Caller& caller) {
      return wardtune::GetOutputReport(context_, caller, *request);
    });
  }

  grpc::ServerUnaryReactor* ListOutputReports(grpc::CallbackServerContext* call,
                                              const v1::ListOutputReportsRequest* request,
                                              v1::ListOutputReportsResponse* response) override {
    return runner_.Unary(call, kListOutputReports, response, [this, request](const Caller& caller) {
      return wardtune::ListOutputReports(context_, caller, *request);
    });
  }

 private:
  HandlerContext& context_;
  CallRunner& runner_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeOutputReportService(HandlerContext& context,
                                                       CallRunner& runner) {
  return std::make_unique<OutputReportService>(context, runner);
}

}  // namespace wardtune
