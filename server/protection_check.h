// What a worker's result must show before it is believed: that the right security vector was active
// in training and is not in what is delivered.
// Thread safety: re-entrant functions.
#ifndef WARDTUNE_SERVER_PROTECTION_CHECK_H_
#define WARDTUNE_SERVER_PROTECTION_CHECK_H_

#include "absl/status/status.h"
#include "server/server_limits.h"
#include "storage/records.h"
#include "wardtune/v1/worker_service.pb.h"

namespace wardtune {

// Errors: INVALID_ARGUMENT with the reason PROOF_REJECTED, naming each field that does not hold.
absl::Status CheckFineTuningResult(const v1::FineTuningResult& result, const LeaseRecord& lease,
                                   const ServerLimits& limits);

// The same for scores alone: both must be of the job's suite and judge.
absl::Status CheckScores(const v1::SafetyReport& before, const v1::SafetyReport& after,
                         const LeaseRecord& lease);

// The same for a trained security vector.
absl::Status CheckSecurityVectorResult(const v1::SecurityVectorResult& result,
                                       const LeaseRecord& lease);

// The same for an audit: both scores must be of its suite and judge.
absl::Status CheckAuditResult(const v1::AuditResult& result, const LeaseRecord& lease);

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_PROTECTION_CHECK_H_
