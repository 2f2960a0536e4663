// The exchange of gradients by LibTorch's c10d and Gloo: TCP between processes, through host memory
// whatever the model's device is, as the optimizer's buffers lie there.
//
// The connections are neither encrypted nor authenticated, and gradients tell of the rows that they
// were made from: use it inside one machine or a network that is the provider's own.
// Thread safety: ConnectGloo is re-entrant; what it returns belongs to one thread at a time.
#ifndef WARDTUNE_WORKER_TRAINING_GLOO_EXCHANGE_H_
#define WARDTUNE_WORKER_TRAINING_GLOO_EXCHANGE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/training/gradient_exchange.h"

namespace wardtune {

struct GlooExchangeOptions {
  int rank = 0;
  int ranks = 1;
  // Where the ranks find each other: "file:PATH", a file on a disk that all see, made by the first
  // rank and removed by the last (a new path for every run), or "tcp:HOST:PORT", where rank 0
  // listens.
  std::string store;
  // The address of this machine at which the other ranks reach this process.
  std::string address = "127.0.0.1";
  // How long one call, the first connection included, waits for the other ranks.
  absl::Duration timeout = absl::Minutes(5);
};

// Returns when all ranks are connected. SIGPIPE is ignored in this process from then on, unless
// something handles it: Gloo would end it where another rank dies.
// Errors: INVALID_ARGUMENT naming the option; UNAVAILABLE when not all ranks came in time.
absl::StatusOr<std::unique_ptr<GradientExchange>> ConnectGloo(const GlooExchangeOptions& options);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_TRAINING_GLOO_EXCHANGE_H_
