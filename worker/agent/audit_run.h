// The audit of a delivered adapter from its lease to its score, stage by stage:
//
//   load base -> fetch and check adapter -> score base -> score base + adapter -> complete
//
// Nothing is trained, no security vector is opened, and nothing is uploaded.
// Thread safety: belongs to the attempt's thread.
#ifndef WARDTUNE_WORKER_AGENT_AUDIT_RUN_H_
#define WARDTUNE_WORKER_AGENT_AUDIT_RUN_H_

#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "worker/agent/attempt.h"
#include "worker/agent/job_environment.h"
#include "worker/model/adapter.h"

namespace wardtune {

class AuditRun {
 public:
  // `environment` and `attempt` must outlive the run. REQUIRES: the lease is for an audit.
  AuditRun(JobEnvironment& environment, Attempt& attempt)
      : environment_(environment), attempt_(attempt) {}

  // Runs the work to its end; FailureOf tells the reason of an error.
  absl::Status Run();

 private:
  absl::Status Prepare();
  absl::Status Score();
  absl::Status NameWhatWasScored();

  JobEnvironment& environment_;
  Attempt& attempt_;

  std::shared_ptr<const BaseModel> base_;
  SafetyInputs safety_;                 // its judge may run on base_
  std::optional<LoraAdapter> adapter_;  // one of both
  std::optional<DecoderModel> model_;
  v1::AuditResult result_;
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_AGENT_AUDIT_RUN_H_
