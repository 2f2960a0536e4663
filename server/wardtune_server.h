// The whole server in one process: store, services, background duties, /metrics.
//
// Start() brings it up in an order in which nothing is reachable before what it needs; Shutdown()
// takes it down in the reverse:
//   1. health reports NOT_SERVING, so that load balancers look elsewhere;
//   2. no connection is accepted any more, and calls that wait (LeaseJob, Watch) end;
//   3. calls in progress may end until `options.drain` is over, then they are cancelled;
//   4. background duties and the executor stop;
//   5. services, blobs and the database are closed.
// Thread safety: all methods may be called from any thread.
#ifndef WARDTUNE_SERVER_WARDTUNE_SERVER_H_
#define WARDTUNE_SERVER_WARDTUNE_SERVER_H_

#include <memory>
#include <ostream>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/file_system.h"
#include "server/server_options.h"

namespace wardtune {

class MetadataStore;
class BlobStore;

class WardtuneServer {
 public:
  // `clock`, `files` and `log` must outlive the server. Blocks while the digests of new base models
  // are made.
  // Errors: those of opening the store, the models and the TLS files; UNAVAILABLE when an address
  // cannot be bound.
  static absl::StatusOr<std::unique_ptr<WardtuneServer>> Start(const ServerOptions& options,
                                                               Clock& clock, FileSystem& files,
                                                               std::ostream& log);
  // Same as Shutdown().
  ~WardtuneServer();

  // The port that the API listens on.
  int port() const;
  // The port of /metrics; 0 when it is off.
  int metrics_port() const;

  // For tests that look behind the API.
  MetadataStore& store();
  BlobStore& blobs();
  // Runs the duties that otherwise run every second or so: leases that ended, waits that are over,
  // gauges.
  void RunDuties();

  // May be called more than once; returns when everything has stopped.
  void Shutdown();

 private:
  class Impl;
  explicit WardtuneServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_WARDTUNE_SERVER_H_
