// The services of wardtune.v1 as gRPC sees them: each method names its handler and nothing more.
//
// The arguments must outlive the service, the service must outlive the gRPC server.
// Thread safety: gRPC calls the methods from its own threads; none of them blocks.
#ifndef WARDTUNE_SERVER_SERVICES_SERVICES_H_
#define WARDTUNE_SERVER_SERVICES_SERVICES_H_

#include <grpcpp/impl/service_type.h>

#include <memory>

namespace wardtune {

class CallRunner;
struct HandlerContext;

std::unique_ptr<grpc::Service> MakeDatasetService(HandlerContext& context, CallRunner& runner);
std::unique_ptr<grpc::Service> MakeFineTuningService(HandlerContext& context, CallRunner& runner);
std::unique_ptr<grpc::Service> MakeAdapterService(HandlerContext& context, CallRunner& runner);
std::unique_ptr<grpc::Service> MakeModelService(HandlerContext& context, CallRunner& runner);
std::unique_ptr<grpc::Service> MakeSecurityVectorService(HandlerContext& context,
                                                         CallRunner& runner);
std::unique_ptr<grpc::Service> MakeOutputReportService(HandlerContext& context, CallRunner& runner);
std::unique_ptr<grpc::Service> MakeAdminService(HandlerContext& context, CallRunner& runner);
std::unique_ptr<grpc::Service> MakeWorkerService(HandlerContext& context, CallRunner& runner);

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_SERVICES_SERVICES_H_
