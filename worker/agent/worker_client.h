// The worker's calls to the server: one method per RPC of WorkerService, with deadlines, retries
// and digests checked.
//
// Retries: UNAVAILABLE, DEADLINE_EXCEEDED and the reasons SERVER_BUSY and UPLOAD_IN_PROGRESS,
// waiting 0.1 s and doubling to 5 s, until the call succeeds or `give_up` says so. Every call is
// safe to repeat: it names the work and the attempt, or the bytes that it replaces. Thread safety:
// all methods may be called from any thread.
#ifndef WARDTUNE_WORKER_AGENT_WORKER_CLIENT_H_
#define WARDTUNE_WORKER_AGENT_WORKER_CLIENT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "wardtune/v1/worker_service.grpc.pb.h"

namespace wardtune {

// True for the error that ends an attempt: another attempt holds the lease now.
bool IsLeaseLost(const absl::Status& status);
// True where the same call may succeed later: the server is away, busy, or still holds a stream of
// ours that broke.
bool IsTransient(const absl::Status& status);

class WorkerClient {
 public:
  struct Options {
    std::string server;          // host:port
    std::string api_key;         // sent as `authorization: Bearer ...`
    std::string ca_certificate;  // PEM; empty: no TLS
    std::string worker_id;
  };
  using GiveUp = std::function<bool()>;

  // `clock` must outlive the client. Connects lazily.
  WorkerClient(Options options, Clock& clock);

  // Waits up to `wait` for work; nothing when there is none. Not retried.
  absl::StatusOr<std::optional<v1::Lease>> LeaseJob(const std::vector<std::string>& base_models,
                                                    absl::Duration wait);
  // Not retried: the next heartbeat follows soon.
  absl::StatusOr<v1::HeartbeatResponse> Heartbeat(const v1::HeartbeatRequest& request);
  // The whole input, in memory. A broken stream goes on at the offset it had reached.
  // Errors: DATA_LOSS when size or digest are not the input's.
  absl::StatusOr<std::string> FetchInput(const v1::Lease& lease, const v1::WorkInput& input,
                                         const GiveUp& give_up);
  // Returns when the server has the bytes on disk. Errors: DATA_LOSS when it stored others.
  absl::Status UploadArtifact(const v1::Lease& lease, v1::UploadArtifactRequest::Kind kind,
                              std::string_view bytes, int64_t step, const GiveUp& give_up);
  // What the safety gate makes of these scores.
  absl::StatusOr<v1::SafetyGate> JudgeScores(const v1::JudgeScoresRequest& request,
                                             const GiveUp& give_up);
  absl::Status CompleteJob(const v1::CompleteJobRequest& request, const GiveUp& give_up);
  absl::Status FailJob(const v1::FailJobRequest& request, const GiveUp& give_up);

  // Every trained version, newest first.
  absl::StatusOr<std::vector<v1::SealedVersion>> ListSealedVersions(const GiveUp& give_up);
  // The version's sealed bytes, as FetchInput. Errors: also ABORTED when the server has others now.
  absl::StatusOr<std::string> FetchSealedVersion(const v1::SealedVersion& version,
                                                 const GiveUp& give_up);
  // Returns when the server has put the bytes in the version's place. Errors: also ABORTED when
  // what it has is no longer `replaced`.
  absl::Status ReplaceSealedVersion(const v1::SealedVersion& replaced, std::string_view bytes,
                                    const GiveUp& give_up);

  // Ends the waiting LeaseJob calls with CANCELLED.
  void InterruptLeasing();
  // The same, and any that comes later.
  void StopLeasing();

 private:
  class Call;

  absl::Status Retry(const GiveUp& give_up, const std::function<absl::Status()>& call);
  // Sends the header message and the bytes after it, and takes the answer.
  template <typename Request, typename Response, typename Open>
  absl::Status SendOnce(const char* rpc, Open open, const Request& header, std::string_view bytes,
                        Response& response);
  // Appends what the stream brings, at most up to `limit` bytes in all.
  template <typename Response, typename Open>
  absl::Status ReceiveOnce(const char* rpc, Open open, int64_t limit, std::string& bytes);

  const Options options_;
  Clock& clock_;
  const std::unique_ptr<v1::WorkerService::Stub> stub_;

  absl::Mutex mutex_;
  bool leasing_stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::set<grpc::ClientContext*> leasing_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_AGENT_WORKER_CLIENT_H_
