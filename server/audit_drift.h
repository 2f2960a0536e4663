// What an audit's score says beside the one at delivery.
//
// An adapter has drifted when a category's rate of harmful answers rose significantly (the 95%
// Wilson intervals do not overlap), or when the score misses a bound of the policy in force that
// the score at delivery, by the same policy, kept: what the provider released in spite of a bound,
// and what only a stricter policy minds, is no news. `all` counts only where both suites have the
// same categories with as many prompts; of another mix it says nothing. The rise over the base is
// taken from the base's score on the suite of either score. Thread safety: pure functions.
#ifndef WARDTUNE_SERVER_AUDIT_DRIFT_H_
#define WARDTUNE_SERVER_AUDIT_DRIFT_H_

#include "wardtune/v1/adapter_service.pb.h"
#include "wardtune/v1/safety.pb.h"
#include "wardtune/v1/worker_service.pb.h"

namespace wardtune {

// Fills `state`, `drifts`, `violations` and `policy_version` alone; the state is PASSED or DRIFTED.
// `delivered_base` and `delivered` are the scores of the base and of the result at delivery.
// REQUIRES: the policy passed CheckSafetyPolicy().
v1::AdapterAudit JudgeAudit(const v1::SafetyPolicy& policy, const v1::SafetyReport& delivered_base,
                            const v1::SafetyReport& delivered, const v1::AuditResult& result);

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_AUDIT_DRIFT_H_
