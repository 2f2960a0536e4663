#include "server/handlers/sealed_version_handlers.h"
#include "server/handlers/worker_handlers.h"
#include "server/rpc/call_runner.h"
#include "server/rpc/stream_reactors.h"
#include "server/services/services.h"
#include "wardtune/v1/worker_service.grpc.pb.h"

namespace wardtune {
namespace {

constexpr Method kLeaseJob = {"WorkerService/LeaseJob", Access::kWorker};
constexpr Method kHeartbeat = {"WorkerService/Heartbeat", Access::kWorker};
constexpr Method kFetchInput = {"WorkerService/FetchInput", Access::kWorker};
constexpr Method kUploadArtifact = {"WorkerService/UploadArtifact", Access::kWorker};
constexpr Method kCompleteJob = {"WorkerService/CompleteJob", Access::kWorker};
constexpr Method kJudgeScores = {"WorkerService/JudgeScores", Access::kWorker};
constexpr Method kFailJob = {"WorkerService/FailJob", Access::kWorker};
constexpr Method kListSealedVersions = {"WorkerService/ListSealedVersions", Access::kWorker};
constexpr Method kFetchSealedVersion = {"WorkerService/FetchSealedVersion", Access::kWorker};
constexpr Method kReplaceSealedVersion = {"WorkerService/ReplaceSealedVersion", Access::kWorker};

class WorkerService final : public v1::WorkerService::CallbackService {
 public:
  WorkerService(HandlerContext& context, CallRunner& runner) : context_(context), runner_(runner) {}

  grpc::ServerUnaryReactor* LeaseJob(grpc::CallbackServerContext* call,
                                     const v1::LeaseJobRequest* request,
                                     v1::LeaseJobResponse* response) override {
    return runner_.RunUnary(*call, kLeaseJob,
                            [this, call, request, response](const Caller&, CallRunner::Done done) {
                              wardtune::LeaseJob(
                                  context_, runner_, *request, *response,
                                  [call] { return !call->IsCancelled(); }, std::move(done));
                            });
  }

  grpc::ServerUnaryReactor* Heartbeat(grpc::CallbackServerContext* call,
                                      const v1::HeartbeatRequest* request,
                                      v1::HeartbeatResponse* response) override {
    return runner_.Unary(call, kHeartbeat, response, [this, request](const Caller& caller) {
      return wardtune::Heartbeat(context_, caller, *request);
    });
  }

  grpc::ServerWriteReactor<v1::FetchInputResponse>* FetchInput(
      grpc::CallbackServerContext* call, const v1::FetchInputRequest* request) override {
    return SendingReactor<v1::FetchInputResponse>::Start(
        runner_, call, kFetchInput, [this, request](const Caller& caller) {
          return wardtune::FetchInput(context_, caller, *request);
        });
  }

  grpc::ServerReadReactor<v1::UploadArtifactRequest>* UploadArtifact(
      grpc::CallbackServerContext* call, v1::UploadArtifactResponse* response) override {
    return ReceivingReactor<v1::UploadArtifactRequest, v1::UploadArtifactResponse>::Start(
        runner_, call, kUploadArtifact, response,
        [this](const Caller& caller) { return wardtune::UploadArtifact(context_, caller); });
  }

  grpc::ServerUnaryReactor* JudgeScores(grpc::CallbackServerContext* call,
                                        const v1::JudgeScoresRequest* request,
                                        v1::JudgeScoresResponse* response) override {
    return runner_.Unary(call, kJudgeScores, response, [this, request](const Caller& caller) {
      return wardtune::JudgeScores(context_, caller, *request);
    });
  }

  grpc::ServerUnaryReactor* CompleteJob(grpc::CallbackServerContext* call,
                                        const v1::CompleteJobRequest* request,
                                        v1::CompleteJobResponse* response) override {
    return runner_.Unary(call, kCompleteJob, response, [this, request](const Caller& caller) {
      return wardtune::CompleteJob(context_, caller, *request);
    });
  }

  grpc::ServerUnaryReactor* FailJob(grpc::CallbackServerContext* call,
                                    const v1::FailJobRequest* request,
                                    v1::FailJobResponse* response) override {
    return runner_.Unary(call, kFailJob, response, [this, request](const Caller& caller) {
      return wardtune::FailJob(context_, caller, *request);
    });
  }

  grpc::ServerUnaryReactor* ListSealedVersions(grpc::CallbackServerContext* call,
                                               const v1::ListSealedVersionsRequest* request,
                                               v1::ListSealedVersionsResponse* response) override {
    return runner_.Unary(call, kListSealedVersions, response,
                         [this, request](const Caller& caller) {
                           return wardtune::ListSealedVersions(context_, caller, *request);
                         });
  }

  grpc::ServerWriteReactor<v1::FetchSealedVersionResponse>* FetchSealedVersion(
      grpc::CallbackServerContext* call, const v1::FetchSealedVersionRequest* request) override {
    return SendingReactor<v1::FetchSealedVersionResponse>::Start(
        runner_, call, kFetchSealedVersion, [this, request](const Caller& caller) {
          return wardtune::FetchSealedVersion(context_, caller, *request);
        });
  }

  grpc::ServerReadReactor<v1::ReplaceSealedVersionRequest>* ReplaceSealedVersion(
      grpc::CallbackServerContext* call, v1::ReplaceSealedVersionResponse* response) override {
    return ReceivingReactor<v1::ReplaceSealedVersionRequest, v1::ReplaceSealedVersionResponse>::
        Start(runner_, call, kReplaceSealedVersion, response, [this](const Caller& caller) {
          return wardtune::ReplaceSealedVersion(context_, caller);
        });
  }

 private:
  HandlerContext& context_;
  CallRunner& runner_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeWorkerService(HandlerContext& context, CallRunner& runner) {
  return std::make_unique<WorkerService>(context, runner);
}

}  // namespace wardtune
