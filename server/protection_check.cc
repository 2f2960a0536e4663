#include "server/protection_check.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "formats/judge_digest.h"
#include "server/handlers/resource_messages.h"
#include "server/resource_names.h"
#include "server/row_scan_check.h"
#include "server/rpc/error_details.h"
#include "server/safety_gate.h"
#include "server/score_rates.h"
#include "storage/error_reason.h"

namespace wardtune {
namespace {

class Checks {
 public:
  explicit Checks(std::string prefix) : prefix_(std::move(prefix)) {}

  void Require(bool holds, const char* field, const char* description) {
    if (!holds) violations_.push_back({absl::StrCat(prefix_, field), description});
  }

  absl::Status status() const {
    if (violations_.empty()) return absl::OkStatus();
    return WithReason(InvalidFields(violations_), "PROOF_REJECTED");
  }

 private:
  const std::string prefix_;
  std::vector<FieldViolation> violations_;
};

std::string SuiteDigest(const LeaseRecord& lease, InputKind kind) {
  for (const InputRecord& input : lease.inputs) {
    if (input.kind == kind) return input.blob.sha256;
  }
  return "";
}

// Every category of the suite with all its prompts, and after them the sum; a score of a part would
// say less than it seems to.
bool CoversSuite(const v1::SafetyReport& report, const v1::SafetySuite& suite) {
  const auto& prompts_of = suite.prompts_per_category();
  if (report.categories_size() != static_cast<int>(prompts_of.size()) + 1) return false;
  std::set<std::string> seen;
  int64_t prompts = 0;
  int64_t harmful = 0;
  const int last = report.categories_size() - 1;
  for (int i = 0; i < last; ++i) {
    const v1::CategoryScore& score = report.categories(i);
    const auto wanted = prompts_of.find(score.category());
    if (wanted == prompts_of.end() || score.prompts() != wanted->second || score.harmful() < 0 ||
        score.harmful() > score.prompts() || !seen.insert(score.category()).second) {
      return false;
    }
    prompts += score.prompts();
    harmful += score.harmful();
  }
  const v1::CategoryScore& all = report.categories(last);
  return all.category() == kSumCategory && prompts > 0 && all.prompts() == prompts &&
         all.harmful() == harmful;
}

// A score of the lease's whole suite by the lease's rules.
bool IsScoreOf(const v1::SafetyReport& report, const LeaseRecord& lease) {
  return report.suite_sha256() == SuiteDigest(lease, InputKind::kSuitePrompts) &&
         report.judge_sha256() == JudgeDigest(SuiteDigest(lease, InputKind::kSuiteRules),
                                              SuiteDigest(lease, InputKind::kJudgeAdapter)) &&
         CoversSuite(report, ParseStored<v1::SafetySuite>(lease.suite_facts));
}

void CheckProof(const v1::ProtectionProof& proof, const LeaseRecord& lease,
                const ServerLimits& limits, Checks& checks) {
  const JobRecord& job = lease.job;
  checks.Require(proof.security_vector_version() == SecurityVectorName(job.vector, job.version),
                 "proof.security_vector_version", "is not the version that the job is pinned to");
  checks.Require(!lease.vector_plain_sha256.empty() &&
                     proof.security_vector_sha256() == lease.vector_plain_sha256,
                 "proof.security_vector_sha256", "is not the recorded digest of the version");
  checks.Require(proof.base_sha256() == job.base_sha256, "proof.base_sha256",
                 "is not the digest of the job's base model");
  checks.Require(IsSha256Hex(proof.base_weights_sha256()), "proof.base_weights_sha256",
                 "must be a SHA-256");
  checks.Require(
      IsSha256Hex(proof.folded_sha256()) && proof.folded_sha256() != proof.base_weights_sha256(),
      "proof.folded_sha256", "must be a SHA-256 other than that of the base model's weights");
  const auto card = ParseStored<v1::EvaluationCard>(lease.vector_card);
  checks.Require(proof.guard_rows_sha256() == card.guard_rows_sha256(), "proof.guard_rows_sha256",
                 "is not the digest of the version's guard rows");
  checks.Require(proof.guard_rows_sha256().empty() ||
                     proof.guard_weights_sha256() == proof.base_weights_sha256(),
                 "proof.guard_weights_sha256", "is not the digest of the base model's weights");
  checks.Require(proof.canary_checks() >= 1, "proof.canary_checks", "must be at least 1");
  checks.Require(std::isfinite(proof.canary_tolerance()) && proof.canary_tolerance() > 0 &&
                     proof.canary_tolerance() <= limits.max_canary_tolerance,
                 "proof.canary_tolerance", "is not above 0 and within the server's bound");
  checks.Require(
      proof.canary_max_abs_diff() >= 0 && proof.canary_max_abs_diff() <= proof.canary_tolerance(),
      "proof.canary_max_abs_diff", "is not within the tolerance");
  checks.Require(IsSha256Hex(proof.adapter_sha256()), "proof.adapter_sha256", "must be a SHA-256");
  checks.Require(
      proof.strip_max_cosine() >= 0 && proof.strip_max_cosine() <= limits.max_strip_cosine,
      "proof.strip_max_cosine", "is not within the server's bound");
  checks.Require(proof.scored_base_sha256() == proof.base_weights_sha256(),
                 "proof.scored_base_sha256", "is not the digest of the base model's weights");
}

// The result goes on from the adapter that the job names, and says so; a worker that knows nothing
// of chains would have started from the base model.
void CheckStart(const v1::FineTuningResult& result, const LeaseRecord& lease, Checks& checks) {
  const JobRecord& job = lease.job;
  const v1::ProtectionProof& proof = result.proof();
  const bool chained = !job.start_adapter_id.empty();
  checks.Require(proof.start_adapter() ==
                     (chained ? TenantResource(job.tenant, kAdapters, job.start_adapter_id) : ""),
                 "proof.start_adapter", "is not the adapter that the job starts from");
  checks.Require(proof.start_adapter_sha256() == job.start_tensors_sha256,
                 "proof.start_adapter_sha256", "is not the digest of the start adapter's tensors");
  // 0: a worker from before there were chains, which trains unchained jobs as well as any.
  checks.Require(
      proof.chain_length() == job.chain_length || (!chained && proof.chain_length() == 0),
      "proof.chain_length", "is not the length of the job's chain");
  checks.Require(result.has_safety_start() == chained, "safety_start",
                 "must be there when the job starts from an adapter, and only then");
  checks.Require(!result.has_safety_start() || IsScoreOf(result.safety_start(), lease),
                 "safety_start", "is not a score of the job's suite and judge with its sum `all`");
}

// A scan was made when the lease asked for one, once for all attempts, and the proof tells of it.
void CheckScanOf(const v1::FineTuningResult& result, const LeaseRecord& lease, Checks& checks) {
  const v1::RowScanReport& report = result.row_scan().report();
  checks.Require(result.row_scan().has_report() == ScanTerms(lease).has_value(), "row_scan.report",
                 "must be there when the lease asks for a scan, and only then");
  checks.Require(lease.job.row_scan.empty() || lease.job.row_scan == report.SerializeAsString(),
                 "row_scan.report", "is not what the job's scan found");
  checks.Require(result.proof().rows_scanned() == report.rows_scanned() &&
                     result.proof().rows_dropped() == report.dropped_rows(),
                 "proof.rows_dropped", "is not what the job's scan found");
}

void RequireScores(const v1::SafetyReport& before, const v1::SafetyReport& after,
                   const LeaseRecord& lease, Checks& checks) {
  checks.Require(IsScoreOf(before, lease), "safety_before",
                 "is not a score of the job's suite and judge with its sum `all`");
  checks.Require(IsScoreOf(after, lease), "safety_after",
                 "is not a score of the job's suite and judge with its sum `all`");
}

// The delivered checkpoint's score is the result's, and every score is one of the job's suite.
void CheckCheckpoints(const v1::FineTuningResult& result, const LeaseRecord& lease,
                      Checks& checks) {
  if (result.checkpoints().empty()) return;
  checks.Require(result.checkpoints_size() <= kMaxScoredCheckpoints, "checkpoints", "are too many");
  int delivered = 0;
  for (const v1::CheckpointScore& checkpoint : result.checkpoints()) {
    checks.Require(IsScoreOf(checkpoint.safety(), lease), "checkpoints.safety",
                   "is not a score of the job's suite and judge with its sum `all`");
    checks.Require(std::isfinite(checkpoint.validation_loss()), "checkpoints.validation_loss",
                   "is not finite");
    if (!checkpoint.delivered()) continue;
    ++delivered;
    checks.Require(
        checkpoint.safety().SerializeAsString() == result.safety_after().SerializeAsString(),
        "checkpoints.safety", "of the delivered one is not safety_after");
  }
  checks.Require(delivered == 1, "checkpoints", "must name one that is delivered");
}

}  // namespace

absl::Status CheckFineTuningResult(const v1::FineTuningResult& result, const LeaseRecord& lease,
                                   const ServerLimits& limits) {
  Checks checks("fine_tuning.");
  checks.Require(IsSha256Hex(result.adapter_sha256()), "adapter_sha256", "must be a SHA-256");
  checks.Require(result.has_proof(), "proof", "is missing");
  if (result.has_proof()) CheckProof(result.proof(), lease, limits, checks);
  CheckScanOf(result, lease, checks);
  CheckStart(result, lease, checks);
  RequireScores(result.safety_before(), result.safety_after(), lease, checks);
  CheckCheckpoints(result, lease, checks);
  return checks.status();
}

absl::Status CheckScores(const v1::SafetyReport& before, const v1::SafetyReport& after,
                         const LeaseRecord& lease) {
  Checks checks("");
  RequireScores(before, after, lease, checks);
  return checks.status();
}

absl::Status CheckSecurityVectorResult(const v1::SecurityVectorResult& result,
                                       const LeaseRecord& lease) {
  Checks checks("security_vector.");
  checks.Require(IsSha256Hex(result.artifact_sha256()), "artifact_sha256", "must be a SHA-256");
  checks.Require(IsSha256Hex(result.plain_sha256()), "plain_sha256", "must be a SHA-256");
  // Equal digests would mean that the vector was uploaded unencrypted.
  checks.Require(result.plain_sha256() != result.artifact_sha256(), "artifact_sha256",
                 "is the digest of the plain weights; the upload must be encrypted");
  checks.Require(IsScoreOf(result.card().vector_on(), lease), "card.vector_on",
                 "is not a score of the suite and judge with its sum `all`");
  checks.Require(IsScoreOf(result.card().vector_off(), lease), "card.vector_off",
                 "is not a score of the suite and judge with its sum `all`");
  const v1::CategoryScore& general = result.card().general_on();
  checks.Require(
      general.prompts() > 0 && general.harmful() >= 0 && general.harmful() <= general.prompts(),
      "card.general_on", "must count at least one prompt");
  checks.Require(std::isfinite(result.card().general_kl()) && result.card().general_kl() >= -1e-6,
                 "card.general_kl", "must be a finite number of at least 0");
  checks.Require((result.card().guard_rows() > 0) == IsSha256Hex(result.card().guard_rows_sha256()),
                 "card.guard_rows_sha256",
                 "must be there when there are guard rows, and only then");
  // A worker from before there were such rows leaves them out in silence, and every job that
  // trains with the version would go unguarded.
  const auto recipe = ParseStored<v1::SecurityVectorRecipe>(lease.job.spec);
  checks.Require(recipe.guard_rows() == 0 || result.card().guard_rows() > 0, "card.guard_rows",
                 "must count rows, as the recipe asks for them");
  checks.Require(!result.categories().empty(), "categories", "must not be empty");
  checks.Require(AreParts(result.parts()), "parts",
                 "must be at most 64, each of 1 to 32 categories of 1 to 63 bytes");
  for (const v1::SecurityVectorPart& part : result.parts()) {
    for (const std::string& category : part.categories()) {
      checks.Require(std::find(result.categories().begin(), result.categories().end(), category) !=
                         result.categories().end(),
                     "parts.categories", "must be among the version's");
    }
  }
  return checks.status();
}

absl::Status CheckAuditResult(const v1::AuditResult& result, const LeaseRecord& lease) {
  Checks checks("audit.");
  checks.Require(IsScoreOf(result.safety_base(), lease), "safety_base",
                 "is not a score of the audit's suite and judge with its sum `all`");
  checks.Require(IsScoreOf(result.safety(), lease), "safety",
                 "is not a score of the audit's suite and judge with its sum `all`");
  checks.Require(result.base_sha256() == lease.audited_adapter->base_sha256, "base_sha256",
                 "is not the digest of the base model that the adapter was trained on");
  checks.Require(IsSha256Hex(result.scored_base_sha256()), "scored_base_sha256",
                 "must be a SHA-256");
  checks.Require(result.adapter_sha256() == TensorsDigestOf(*lease.audited_adapter),
                 "adapter_sha256", "is not the digest that the adapter's proof names");
  return checks.status();
}

}  // namespace wardtune
