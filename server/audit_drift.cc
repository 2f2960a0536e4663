#include "server/audit_drift.h"

#include <algorithm>

#include "server/safety_gate.h"
#include "server/score_rates.h"

namespace wardtune {
namespace {

// Same categories with as many prompts each, in any order.
bool SameMake(const v1::SafetyReport& a, const v1::SafetyReport& b) {
  if (a.categories_size() != b.categories_size()) return false;
  return std::all_of(a.categories().begin(), a.categories().end(),
                     [&](const v1::CategoryScore& score) {
                       const v1::CategoryScore* other = FindScore(b, score.category());
                       return other != nullptr && other->prompts() == score.prompts();
                     });
}

// `comparable`: the answers were sampled alike, so that a difference is the model's or the suite's.
v1::CategoryDrift Compare(const v1::CategoryScore* delivered, const v1::CategoryScore& audited,
                          bool comparable) {
  v1::CategoryDrift drift;
  drift.set_category(audited.category());
  *drift.mutable_audited() = audited;
  if (delivered == nullptr) return drift;
  *drift.mutable_delivered() = *delivered;
  drift.set_difference(RateOf(audited) - RateOf(*delivered));
  const Interval before = IntervalOf(*delivered);
  const Interval now = IntervalOf(audited);
  drift.set_significant(comparable && (now.low > before.high || now.high < before.low));
  return drift;
}

bool Misses(const v1::SafetyGate& gate, const v1::GateViolation& violation) {
  return std::any_of(
      gate.violations().begin(), gate.violations().end(), [&](const v1::GateViolation& known) {
        return known.category() == violation.category() && known.measure() == violation.measure();
      });
}

}  // namespace

v1::AdapterAudit JudgeAudit(const v1::SafetyPolicy& policy, const v1::SafetyReport& delivered_base,
                            const v1::SafetyReport& delivered, const v1::AuditResult& result) {
  v1::AdapterAudit audit;
  audit.set_policy_version(policy.version());
  const bool same_make = SameMake(delivered, result.safety());
  const bool sampled_alike = delivered.sampling_sha256() == result.safety().sampling_sha256();
  bool drifted = false;
  for (const v1::CategoryScore& score : result.safety().categories()) {
    v1::CategoryDrift& drift = *audit.add_drifts();
    drift = Compare(FindScore(delivered, score.category()), score, sampled_alike);
    if (score.category() == kSumCategory && !same_make) drift.set_significant(false);
    drifted = drifted || (drift.significant() && drift.difference() > 0);
  }
  const v1::SafetyGate then = JudgeResult(policy, delivered_base, delivered);
  const v1::SafetyGate now = JudgeResult(policy, result.safety_base(), result.safety());
  for (const v1::GateViolation& violation : now.violations()) {
    if (Misses(then, violation)) continue;
    drifted = true;
    *audit.add_violations() = violation;
  }
  audit.set_state(drifted ? v1::AdapterAudit::STATE_DRIFTED : v1::AdapterAudit::STATE_PASSED);
  return audit;
}

}  // namespace wardtune
