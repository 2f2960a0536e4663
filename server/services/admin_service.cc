#include "server/handlers/adapter_audit_handlers.h"
#include "server/handlers/output_report_handlers.h"
#include "server/handlers/safety_policy_handlers.h"
#include "server/handlers/tenant_handlers.h"
#include "server/rpc/call_runner.h"
#include "server/rpc/stream_reactors.h"
#include "server/services/services.h"
#include "wardtune/v1/admin_service.grpc.pb.h"

namespace wardtune {
namespace {

constexpr Method kCreateTenant = {"AdminService/CreateTenant", Access::kProvider};
constexpr Method kUpdateTenant = {"AdminService/UpdateTenant", Access::kProvider};
constexpr Method kListTenants = {"AdminService/ListTenants", Access::kProvider};
constexpr Method kCreateApiKey = {"AdminService/CreateApiKey", Access::kProvider};
constexpr Method kListApiKeys = {"AdminService/ListApiKeys", Access::kProvider};
constexpr Method kRevokeApiKey = {"AdminService/RevokeApiKey", Access::kProvider};
constexpr Method kSetSafetyPolicy = {"AdminService/SetSafetyPolicy", Access::kProvider};
constexpr Method kGetSafetyPolicy = {"AdminService/GetSafetyPolicy", Access::kProvider};
constexpr Method kReleaseAdapter = {"AdminService/ReleaseAdapter", Access::kProvider};
constexpr Method kAuditAdapter = {"AdminService/AuditAdapter", Access::kProvider};
constexpr Method kListAllAdapterAudits = {"AdminService/ListAllAdapterAudits", Access::kProvider};
constexpr Method kListAllOutputReports = {"AdminService/ListAllOutputReports", Access::kProvider};
constexpr Method kResolveOutputReport = {"AdminService/ResolveOutputReport", Access::kProvider};
constexpr Method kExportOutputReports = {"AdminService/ExportOutputReports", Access::kProvider};
constexpr Method kListAuditEvents = {"AdminService/ListAuditEvents", Access::kProvider};

class AdminService final : public v1::AdminService::CallbackService {
 public:
  AdminService(HandlerContext& context, CallRunner& runner) : context_(context), runner_(runner) {}

  grpc::ServerUnaryReactor* CreateTenant(grpc::CallbackServerContext* call,
                                         const v1::CreateTenantRequest* request,
                                         v1::CreateTenantResponse* response) override {
    return runner_.Unary(call, kCreateTenant, response, [this, request](const Caller& caller) {
      return wardtune::CreateTenant(context_, caller, *request);
    });
  }

  grpc::ServerUnaryReactor* UpdateTenant(grpc::CallbackServerContext* call,
                                         const v1::UpdateTenantRequest* request,
                                         v1::UpdateTenantResponse* response) override {
    return runner_.Unary(call, kUpdateTenant, response, [this, request](const Caller& caller) {
      return wardtune::UpdateTenant(context_, caller, *request);
    });
  }

  grpc::ServerUnaryReactor* ListTenants(grpc::CallbackServerContext* call,
                                        const v1::ListTenantsRequest* request,
                                        v1::ListTenantsResponse* response) override {
    return runner_.Unary(call, kListTenants, response, [this, request](const Caller& caller) {
      return wardtune::ListTenants(context_, caller, *request);
    });
  }

  grpc::ServerUnaryReactor* CreateApiKey(grpc::CallbackServerContext* call,
                                         const v1::CreateApiKeyRequest* request,
                                         v1::CreateApiKeyResponse* response) override {
    return runner_.Unary(call, kCreateApiKey, response, [this, request](const Caller& caller) {
      return wardtune::CreateApiKey(context_, caller, *request);
    });
  }

  grpc::ServerUnaryReactor* ListApiKeys(grpc::CallbackServerContext* call,
                                        const v1::ListApiKeysRequest* request,
                                        v1::ListApiKeysResponse* response) override {
    return runner_.Unary(call, kListApiKeys, response, [this, request](const Caller& caller) {
      return wardtune::ListApiKeys(context_, caller, *request);
    });
  }

  grpc::ServerUnaryReactor* RevokeApiKey(grpc::CallbackServerContext* call,
                                         const v1::RevokeApiKeyRequest* request,
                                         v1::RevokeApiKeyResponse* response) override {
    return runner_.Unary(call, kRevokeApiKey, response, [this, request](const Caller& caller) {
      return wardtune::RevokeApiKey(context_, caller, *request);
    });
  }

  grpc::ServerUnaryReactor* SetSafetyPolicy(grpc::CallbackServerContext* call,
                                            const v1::SetSafetyPolicyRequest* request,
                                            v1::SetSafetyPolicyResponse* response) override {
    return runner_.Unary(call, kSetSafetyPolicy, response, [this, request](const Caller& caller) {
      return wardtune::SetSafetyPolicy(context_, caller, *request);
    });
  }

  grpc::ServerUnaryReactor* GetSafetyPolicy(grpc::CallbackServerContext* call,
                                            const v1::GetSafetyPolicyRequest* request,
                                            v1::GetSafetyPolicyResponse* response) override {
    return runner_.Unary(call, kGetSafetyPolicy, response, [this, request](const Caller& caller) {
      return wardtune::GetSafetyPolicy(context_, caller, *request);
    });
  }

  grpc::ServerUnaryReactor* ReleaseAdapter(grpc::CallbackServerContext* call,
                                           const v1::ReleaseAdapterRequest* request,
                                           v1::ReleaseAdapterResponse* response) override {
    return runner_.Unary(call, kReleaseAdapter, response, [this, request](const Caller& caller) {
      return wardtune::ReleaseAdapter(context_, caller, *request);
    });
  }

  grpc::ServerUnaryReactor* AuditAdapter(grpc::CallbackServerContext* call,
                                         const v1::AuditAdapterRequest* request,
                                         v1::AuditAdapterResponse* response) override {
    return runner_.Unary(call, kAuditAdapter, response, [this, request](const Caller& caller) {
      return wardtune::AuditAdapter(context_, caller, *request);
    });
  }

  grpc::ServerUnaryReactor* ListAllAdapterAudits(
      grpc::CallbackServerContext* call, const v1::ListAllAdapterAuditsRequest* request,
      v1::ListAllAdapterAuditsResponse* response) override {
    return runner_.Unary(call, kListAllAdapterAudits, response,
                         [this, request](const Caller& caller) {
                           return wardtune::ListAllAdapterAudits(context_, caller, *request);
                         });
  }

  grpc::ServerUnaryReactor* ListAllOutputReports(
      grpc::CallbackServerContext* call, const v1::ListAllOutputReportsRequest* request,
      v1::ListAllOutputReportsResponse* response) override {
    return runner_.Unary(call, kListAllOutputReports, response,
                         [this, request](const Caller& caller) {
                           return wardtune::ListAllOutputReports(context_, caller, *request);
                         });
  }

  grpc::ServerUnaryReactor* ResolveOutputReport(
      grpc::CallbackServerContext* call, const v1::ResolveOutputReportRequest* request,
      v1::ResolveOutputReportResponse* response) override {
    return runner_.Unary(call, kResolveOutputReport, response,
                         [this, request](const Caller& caller) {
                           return wardtune::ResolveOutputReport(context_, caller, *request);
                         });
  }

  grpc::ServerWriteReactor<v1::ExportOutputReportsResponse>* ExportOutputReports(
      grpc::CallbackServerContext* call, const v1::ExportOutputReportsRequest* request) override {
    return SendingReactor<v1::ExportOutputReportsResponse>::Start(
        runner_, call, kExportOutputReports, [this, request](const Caller& caller) {
          return wardtune::ExportOutputReports(context_, caller, *request);
        });
  }

  grpc::ServerUnaryReactor* ListAuditEvents(grpc::CallbackServerContext* call,
                                            const v1::ListAuditEventsRequest* request,
                                            v1::ListAuditEventsResponse* response) override {
    return runner_.Unary(call, kListAuditEvents, response, [this, request](const Caller& caller) {
      return wardtune::ListAuditEvents(context_, caller, *request);
    });
  }

 private:
  HandlerContext& context_;
  CallRunner& runner_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeAdminService(HandlerContext& context, CallRunner& runner) {
  return std::make_unique<AdminService>(context, runner);
}

}  // namespace wardtune
