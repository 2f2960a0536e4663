// A WorkerService that hands out one lease at a time and does what a test tells it, on a real
// socket. For tests.
// Thread safety: all methods may be called from any thread.
#ifndef WARDTUNE_WORKER_AGENT_TESTING_SCRIPTED_SERVER_H_
#define WARDTUNE_WORKER_AGENT_TESTING_SCRIPTED_SERVER_H_

#include <grpcpp/grpcpp.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "wardtune/v1/worker_service.grpc.pb.h"

namespace wardtune::testing {

class ScriptedServer final : private v1::WorkerService::Service {
 public:
  ScriptedServer();
  ~ScriptedServer() override;

  std::string address() const;

  // The next LeaseJob gets `lease`, its inputs filled from `inputs`, or one that waits already.
  void Offer(v1::Lease lease, std::map<v1::WorkInput::Kind, std::string> inputs);
  // The next LeaseJob ends with this code, as when the server stops.
  void BreakNextLease(grpc::StatusCode code);
  // Called after a failure was stored.
  void OnFailure(std::function<void()> call);
  // Blocks until the worker has reported a failure; false when none comes within half a minute.
  bool AwaitFailure();
  // Called with every artefact before it is stored; what it returns is the answer.
  void OnUpload(std::function<grpc::Status(const v1::UploadArtifactRequest::Header&)> call);
  // Called with every result before it is stored; what it returns is the answer.
  void OnComplete(std::function<grpc::Status(const v1::CompleteJobRequest&)> call);
  // Every heartbeat from now on says that the customer cancelled.
  void Cancel();
  // The next FetchInput ends with UNAVAILABLE after half of the bytes.
  void BreakNextFetch();
  // Blocks until a heartbeat has been answered after this call.
  void AwaitHeartbeat();

  // As the real server packs it, with ErrorInfo.
  static grpc::Status Error(grpc::StatusCode code, const std::string& reason);
  static grpc::Status LeaseLost();

  // The last one; none without one.
  std::optional<v1::CompleteJobRequest> completed() const;
  size_t completions() const;
  std::vector<v1::FailJobRequest> failures() const;
  // Bytes of the last artefact of a kind; empty without one.
  std::string artifact(v1::UploadArtifactRequest::Kind kind) const;
  int uploads(v1::UploadArtifactRequest::Kind kind) const;
  v1::HeartbeatRequest last_heartbeat() const;
  // Of the last heartbeat that had one.
  v1::RowScanOutcome reported_row_scan() const;
  // The gate quarantines the next `count` scores that it is asked about.
  void Quarantine(int count);
  // The base models that each LeaseJob so far asked for.
  std::vector<std::vector<std::string>> lease_requests() const;
  // LeaseJob calls that wait for an offer.
  int waiting_for_lease() const;
  // Those that the worker ended while they waited.
  int interrupted_leases() const;
  // Value of the `authorization` header of the last LeaseJob.
  std::string authorization() const;

 private:
  grpc::Status LeaseJob(grpc::ServerContext* context, const v1::LeaseJobRequest* request,
                        v1::LeaseJobResponse* response) override;
  grpc::Status Heartbeat(grpc::ServerContext* context, const v1::HeartbeatRequest* request,
                         v1::HeartbeatResponse* response) override;
  grpc::Status FetchInput(grpc::ServerContext* context, const v1::FetchInputRequest* request,
                          grpc::ServerWriter<v1::FetchInputResponse>* writer) override;
  grpc::Status UploadArtifact(grpc::ServerContext* context,
                              grpc::ServerReader<v1::UploadArtifactRequest>* reader,
                              v1::UploadArtifactResponse* response) override;
  grpc::Status JudgeScores(grpc::ServerContext* context, const v1::JudgeScoresRequest* request,
                           v1::JudgeScoresResponse* response) override;
  grpc::Status CompleteJob(grpc::ServerContext* context, const v1::CompleteJobRequest* request,
                           v1::CompleteJobResponse* response) override;
  grpc::Status FailJob(grpc::ServerContext* context, const v1::FailJobRequest* request,
                       v1::FailJobResponse* response) override;

  mutable absl::Mutex mutex_;
  std::optional<v1::Lease> offered_ ABSL_GUARDED_BY(mutex_);
  std::map<v1::WorkInput::Kind, std::string> inputs_ ABSL_GUARDED_BY(mutex_);
  std::function<grpc::Status(const v1::UploadArtifactRequest::Header&)> on_upload_
      ABSL_GUARDED_BY(mutex_);
  std::function<grpc::Status(const v1::CompleteJobRequest&)> on_complete_ ABSL_GUARDED_BY(mutex_);
  std::function<void()> on_failure_ ABSL_GUARDED_BY(mutex_);
  grpc::StatusCode lease_code_ ABSL_GUARDED_BY(mutex_) = grpc::StatusCode::OK;
  int quarantine_ ABSL_GUARDED_BY(mutex_) = 0;
  bool cancel_ ABSL_GUARDED_BY(mutex_) = false;
  bool break_fetch_ ABSL_GUARDED_BY(mutex_) = false;
  int heartbeats_ ABSL_GUARDED_BY(mutex_) = 0;
  v1::HeartbeatRequest last_heartbeat_ ABSL_GUARDED_BY(mutex_);
  v1::RowScanOutcome reported_row_scan_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::vector<std::string>> lease_requests_ ABSL_GUARDED_BY(mutex_);
  int waiting_for_lease_ ABSL_GUARDED_BY(mutex_) = 0;
  int interrupted_leases_ ABSL_GUARDED_BY(mutex_) = 0;
  std::string authorization_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::CompleteJobRequest> completed_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::FailJobRequest> failures_ ABSL_GUARDED_BY(mutex_);
  std::map<int, std::string> artifacts_ ABSL_GUARDED_BY(mutex_);
  std::map<int, int> uploads_ ABSL_GUARDED_BY(mutex_);

  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace wardtune::testing

#endif  // WARDTUNE_WORKER_AGENT_TESTING_SCRIPTED_SERVER_H_
