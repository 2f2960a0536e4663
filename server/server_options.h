// The command line of wardtune-server.
// Thread safety: re-entrant functions.
#ifndef WARDTUNE_SERVER_SERVER_OPTIONS_H_
#define WARDTUNE_SERVER_SERVER_OPTIONS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/server_limits.h"

namespace wardtune {

struct ServerOptions {
  // `bootstrap-key` makes a key and ends; otherwise the server runs.
  bool bootstrap_key = false;
  std::string role;  // of bootstrap-key: provider or worker

  std::string data_dir;
  std::string models_dir;
  std::string listen = "127.0.0.1:8433";  // port 0: any free one
  std::string port_file;                  // where the port is written; empty: nowhere
  std::string metrics_listen;             // empty: no /metrics
  std::string bootstrap_keys_file;
  std::string tls_cert;  // both or none
  std::string tls_key;
  int threads = 8;
  int32_t max_attempts = 3;
  absl::Duration drain = absl::Seconds(20);
  absl::Duration collect_every = absl::Minutes(10);
  absl::Duration collect_grace = absl::Hours(1);
  // How long after its last score a delivered adapter is scored again; 0: never by itself.
  absl::Duration audit_interval;
  ServerLimits limits;
};

// What `--help` prints.
std::string ServerUsage();

// Reads `--name=value` and `--name value`.
// Errors: INVALID_ARGUMENT naming the argument; CANCELLED for --help, its message being the usage.
absl::StatusOr<ServerOptions> ParseServerOptions(const std::vector<std::string>& arguments);

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_SERVER_OPTIONS_H_
