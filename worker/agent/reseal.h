// The rotation of the sealing key: every trained security vector that an older key seals is opened,
// sealed with the primary, and replaced on the server. Plain bytes stay in memory.
//
// A version under the primary is opened, so that it is known to open, and left alone; so a rotation
// that was interrupted is simply started again. Thread safety: call from one thread.
#ifndef WARDTUNE_WORKER_AGENT_RESEAL_H_
#define WARDTUNE_WORKER_AGENT_RESEAL_H_

#include <cstdint>
#include <functional>
#include <ostream>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "worker/agent/worker_client.h"
#include "worker/security/sealing_keys.h"

namespace wardtune {

struct ResealSummary {
  int64_t resealed = 0;
  int64_t left_alone = 0;  // under the primary before
  int64_t failed = 0;

  // The primary seals every version.
  bool complete() const { return failed == 0; }
};

// Writes a line for each version to `out`: its name, what was done, key ids, or why it failed; and
// a summary. A version that fails does not keep the others from being resealed. Looks again until a
// look finds nothing new, as a training may end or another rotation run meanwhile.
// Errors: those of listing; UNAVAILABLE when the server is away for minutes; CANCELLED soon after
// `stopping` says so; ABORTED when versions keep changing.
absl::StatusOr<ResealSummary> ResealVersions(WorkerClient& client, const SealingKeys& keys,
                                             Clock& clock, const std::function<bool()>& stopping,
                                             std::ostream& out);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_AGENT_RESEAL_H_
