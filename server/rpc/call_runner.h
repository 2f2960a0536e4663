// What every RPC has in common: authenticate, check the role, run the handler off gRPC's threads,
// turn its status into google.rpc.Status, and leave one log line and one metric sample.
//
// Handlers may block (SQLite, files); they run on two pools of fixed size, one of them for workers
// alone: other calls, however many and whatever they name, must not keep heartbeats from extending
// leases. A call to a worker's method whose key is not known yet is checked among the others. When
// a pool's queue is full the call ends at once with UNAVAILABLE and RetryInfo.
// Thread safety: all methods may be called from any thread.
#ifndef WARDTUNE_SERVER_RPC_CALL_RUNNER_H_
#define WARDTUNE_SERVER_RPC_CALL_RUNNER_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/thread_pool.h"
#include "server/rpc/authenticator.h"
#include "server/rpc/caller.h"
#include "server/rpc/server_metrics.h"
#include "server/rpc/structured_log.h"

namespace wardtune {

class CallRunner;

// One RPC from its arrival to its log line. Belongs to one call; the methods are called one after
// the other.
class CallRecord {
 public:
  CallRecord(CallRunner& runner, grpc::CallbackServerContext& context, const Method& method);

  // Blocking. Errors: UNAUTHENTICATED, PERMISSION_DENIED, RESOURCE_EXHAUSTED for a guesser.
  absl::Status Authorize();
  // The same where the last time was some seconds ago: a key that was revoked ends its streams.
  absl::Status AuthorizeAgain();
  // Which pool the call runs on: kWorker for those of known workers, else kCustomer.
  Access pool() const { return known_worker_ ? Access::kWorker : Access::kCustomer; }
  // REQUIRES: Authorize() returned OK.
  const Caller& caller() const { return caller_; }
  // True when the client is gone or its deadline has passed.
  bool cancelled() const { return context_.IsCancelled(); }

  // Logs, counts and converts. REQUIRES: called once.
  grpc::Status Finish(const absl::Status& status);

 private:
  CallRunner& runner_;
  grpc::CallbackServerContext& context_;
  const Method& method_;
  const absl::Duration start_;    // on the monotonic clock
  absl::Duration authorized_at_;  // on the monotonic clock
  bool known_worker_;
  Caller caller_;
};

class CallRunner {
 public:
  struct Options {
    int threads = 8;
    int worker_threads = 4;
    size_t queue_limit = 1024;
  };
  using Done = absl::AnyInvocable<void(absl::Status)>;

  // All arguments must outlive the runner.
  CallRunner(Authenticator& authenticator, StructuredLog& log, ServerMetrics& metrics, Clock& clock,
             const Options& options)
      : authenticator_(authenticator),
        log_(log),
        metrics_(metrics),
        clock_(clock),
        pool_(options.threads, options.queue_limit),
        worker_pool_(options.worker_threads, options.queue_limit) {}

  // Runs `handler(caller)` for a unary RPC and puts its answer into `response`.
  template <typename Response, typename Handler>
  grpc::ServerUnaryReactor* Unary(grpc::CallbackServerContext* context, const Method& method,
                                  Response* response, Handler handler) {
    return RunUnary(*context, method,
                    [response, handler = std::move(handler)](const Caller& caller, Done done) {
                      absl::StatusOr<Response> answer = handler(caller);
                      if (answer.ok()) *response = *std::move(answer);
                      done(answer.status());
                    });
  }

  // The same for a handler that answers later: it calls `done` once, from any thread. Request and
  // response live until then.
  grpc::ServerUnaryReactor* RunUnary(grpc::CallbackServerContext& context, const Method& method,
                                     absl::AnyInvocable<void(const Caller&, Done)> handler);

  // Runs blocking work of a call; false when the queue is full.
  [[nodiscard]] bool Schedule(Access access, absl::AnyInvocable<void()> work) {
    return (access == Access::kWorker ? worker_pool_ : pool_).Schedule(std::move(work));
  }
  // The status of a call that could not be scheduled.
  static absl::Status Overloaded();

  // From now on calls that wait end early. Called once the server stops accepting.
  void BeginDrain() { draining_ = true; }
  bool draining() const { return draining_; }
  // Runs what is queued, then joins. REQUIRES: no call starts any more.
  void Stop() {
    pool_.Stop();
    worker_pool_.Stop();
  }

 private:
  friend class CallRecord;

  Authenticator& authenticator_;
  StructuredLog& log_;
  ServerMetrics& metrics_;
  Clock& clock_;
  std::atomic<bool> draining_ = false;
  // Last: their work uses everything above.
  ThreadPool pool_;
  ThreadPool worker_pool_;
};

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_RPC_CALL_RUNNER_H_
