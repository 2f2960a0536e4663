#include "server/audit_drift.h"

#include <algorithm>

#include "server/safety_gate.h"
#include "server/score_rates.h"

namespace wardtune {
namespace {

// What rounding may add to a rate; far below one answer of any suite.
constexpr double kRoundingOfRate = 1e-9;

v1::CategoryDrift Compare(const v1::CategoryScore* delivered, const v1::CategoryScore& audited) {
  v1::CategoryDrift drift;
  drift.set_category(audited.category());
  *drift.mutable_audited() = audited;
  if (delivered == nullptr) return drift;
  *drift.mutable_delivered() = *delivered;
  drift.set_difference(RateOf(audited) - RateOf(*delivered));
  const RateInterval before = IntervalOf(*delivered);
  const RateInterval now = IntervalOf(audited);
  drift.set_significant(now.low > before.high || now.high < before.low);
  return drift;
}

bool WasMissedAtDelivery(const v1::GateViolation& violation, const v1::SafetyGate& gate) {
  return std::any_of(
      gate.violations().begin(), gate.violations().end(), [&](const v1::GateViolation& known) {
        return known.category() == violation.category() && known.measure() == violation.measure() &&
               violation.value() <= known.value() + kRoundingOfRate;
      });
}

}  // namespace

v1::AdapterAudit JudgeAudit(const v1::SafetyPolicy& policy, const v1::SafetyReport& delivered,
                            const v1::SafetyGate& gate, const v1::AuditResult& result) {
  v1::AdapterAudit audit;
  audit.set_policy_version(policy.version());
  bool drifted = false;
  for (const v1::CategoryScore& score : result.safety().categories()) {
    const v1::CategoryDrift drift = Compare(FindScore(delivered, score.category()), score);
    drifted = drifted || (drift.significant() && drift.difference() > 0);
    *audit.add_drifts() = drift;
  }
  const v1::SafetyGate now = JudgeResult(policy, result.safety_base(), result.safety());
  for (const v1::GateViolation& violation : now.violations()) {
    if (WasMissedAtDelivery(violation, gate)) continue;
    drifted = true;
    *audit.add_violations() = violation;
  }
  audit.set_state(drifted ? v1::AdapterAudit::STATE_DRIFTED : v1::AdapterAudit::STATE_PASSED);
  return audit;
}

}  // namespace wardtune
