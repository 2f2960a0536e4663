#include "server/rpc/server_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <set>

#include "absl/strings/ascii.h"

namespace wardtune {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;
using prometheus::Family;

const prometheus::Histogram::BucketBoundaries& RpcSeconds() {
  static const auto& boundaries = *new prometheus::Histogram::BucketBoundaries{
      0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30, 120};
  return boundaries;
}

const prometheus::Histogram::BucketBoundaries& JobSeconds() {
  static const auto& boundaries = *new prometheus::Histogram::BucketBoundaries{
      1, 5, 15, 60, 180, 600, 1800, 3600, 10800, 36000, 86400};
  return boundaries;
}

const prometheus::Histogram::BucketBoundaries& HarmfulRates() {
  static const auto& boundaries =
      *new prometheus::Histogram::BucketBoundaries{0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1};
  return boundaries;
}

// Suites may name categories at will; the number of series must not grow with them.
std::string KnownCategory(const std::string& category) {
  static const auto& known =
      *new std::set<std::string>{"all", "safety", "misinformation", "privacy", "unethical"};
  return known.contains(category) ? category : "other";
}

// Reasons come from workers; a made-up one must not grow the number of series.
std::string KnownReason(const std::string& reason) {
  static const auto& known = *new std::set<std::string>{"",
                                                        "SECURITY_VECTOR_MISSING",
                                                        "SECURITY_VECTOR_ALTERED",
                                                        "SECURITY_VECTOR_INACTIVE",
                                                        "SECURITY_VECTOR_KEY_MISMATCH",
                                                        "STRIP_FAILED",
                                                        "LOSS_NOT_FINITE",
                                                        "INPUT_DAMAGED",
                                                        "INPUT_MISSING",
                                                        "INPUT_INVALID",
                                                        "ROWS_SUSPICIOUS",
                                                        "BASE_MODEL_MISMATCH",
                                                        "OUT_OF_MEMORY",
                                                        "WORKER_STOPPING",
                                                        "WORKER_FAILED",
                                                        "MAX_ATTEMPTS_EXCEEDED"};
  return known.contains(reason) ? reason : "OTHER";
}

}  // namespace

struct ServerMetrics::Families {
  std::shared_ptr<prometheus::Registry> registry = std::make_shared<prometheus::Registry>();
  Family<prometheus::Counter>& rpcs = BuildCounter()
                                          .Name("wardtune_rpcs_total")
                                          .Help("Finished RPCs by method and code.")
                                          .Register(*registry);
  Family<prometheus::Histogram>& rpc_seconds = BuildHistogram()
                                                   .Name("wardtune_rpc_duration_seconds")
                                                   .Help("Duration of RPCs, streams included.")
                                                   .Register(*registry);
  Family<prometheus::Gauge>& jobs =
      BuildGauge().Name("wardtune_jobs").Help("Pieces of work by state.").Register(*registry);
  Family<prometheus::Histogram>& queue_seconds = BuildHistogram()
                                                     .Name("wardtune_queue_wait_seconds")
                                                     .Help("From a job's creation to its start.")
                                                     .Register(*registry);
  Family<prometheus::Histogram>& stage_seconds = BuildHistogram()
                                                     .Name("wardtune_job_stage_duration_seconds")
                                                     .Help("Duration of a job's stages.")
                                                     .Register(*registry);
  Family<prometheus::Counter>& finished = BuildCounter()
                                              .Name("wardtune_jobs_finished_total")
                                              .Help("Ended jobs by outcome and reason.")
                                              .Register(*registry);
  Family<prometheus::Counter>& gate = BuildCounter()
                                          .Name("wardtune_safety_gate_total")
                                          .Help(
                                              "Results that the safety gate passed, quarantined "
                                              "and the provider released.")
                                          .Register(*registry);
  Family<prometheus::Counter>& audits = BuildCounter()
                                            .Name("wardtune_audits_total")
                                            .Help("Ended audits of adapters by result.")
                                            .Register(*registry);
  Family<prometheus::Gauge>& drifted =
      BuildGauge()
          .Name("wardtune_audit_drifted_adapters")
          .Help("Adapters whose last audit with a score found drift.")
          .Register(*registry);
  Family<prometheus::Histogram>& harmful_rate =
      BuildHistogram()
          .Name("wardtune_harmful_rate")
          .Help("Share of harmful answers per finished job, of its base and of its result.")
          .Register(*registry);
  Family<prometheus::Counter>& tokens =
      BuildCounter()
          .Name("wardtune_tokens_total")
          .Help("Estimated tokens of fine-tuning jobs that succeeded.")
          .Register(*registry);
  Family<prometheus::Counter>& rows_scanned =
      BuildCounter()
          .Name("wardtune_rows_scanned_total")
          .Help("Customers' rows scanned by the security vector, of ended jobs.")
          .Register(*registry);
  Family<prometheus::Counter>& rows_suspicious =
      BuildCounter()
          .Name("wardtune_rows_suspicious_total")
          .Help("Scanned rows that look like the vector's behaviour, of ended jobs.")
          .Register(*registry);
  Family<prometheus::Gauge>& heartbeat = BuildGauge()
                                             .Name("wardtune_oldest_heartbeat_age_seconds")
                                             .Help("Age of the oldest heartbeat of running work.")
                                             .Register(*registry);
  Family<prometheus::Gauge>& workers = BuildGauge()
                                           .Name("wardtune_alive_workers")
                                           .Help("Workers heard of lately.")
                                           .Register(*registry);
  Family<prometheus::Gauge>& reports = BuildGauge()
                                           .Name("wardtune_output_reports")
                                           .Help("Outputs that tenants reported, by state.")
                                           .Register(*registry);
};

ServerMetrics::ServerMetrics(const std::string& version) : families_(std::make_unique<Families>()) {
  BuildGauge()
      .Name("wardtune_build_info")
      .Help("Always 1; the label holds the version.")
      .Register(*families_->registry)
      .Add({{"version", version}})
      .Set(1);
  families_->tokens.Add({});
  families_->rows_scanned.Add({});
  families_->rows_suspicious.Add({});
  // Present from the start, so that an alert on the first quarantine has a zero to rise from.
  for (const char* outcome : {"passed", "quarantined", "released"}) {
    families_->gate.Add({{"outcome", outcome}});
  }
  for (const char* result : {"passed", "drifted", "failed"}) {
    families_->audits.Add({{"result", result}});
  }
  families_->drifted.Add({});
}

ServerMetrics::~ServerMetrics() = default;

void ServerMetrics::RecordRpc(const std::string& method, const std::string& code,
                              absl::Duration duration) {
  families_->rpcs.Add({{"method", method}, {"code", code}}).Increment();
  families_->rpc_seconds.Add({{"method", method}, {"code", code}}, RpcSeconds())
      .Observe(absl::ToDoubleSeconds(duration));
}

void ServerMetrics::RecordQueueWait(absl::Duration wait) {
  families_->queue_seconds.Add({}, JobSeconds()).Observe(absl::ToDoubleSeconds(wait));
}

void ServerMetrics::RecordStage(const std::string& stage, absl::Duration duration) {
  families_->stage_seconds.Add({{"stage", stage}}, JobSeconds())
      .Observe(absl::ToDoubleSeconds(duration));
}

void ServerMetrics::RecordEnded(JobState state, const std::string& error_code) {
  if (!IsFinal(state)) return;
  const std::string reason = state == JobState::kFailed ? KnownReason(error_code) : "";
  families_->finished.Add({{"outcome", absl::AsciiStrToLower(ToString(state))}, {"reason", reason}})
      .Increment();
}

void ServerMetrics::RecordGate(const std::string& outcome) {
  families_->gate.Add({{"outcome", outcome}}).Increment();
}

void ServerMetrics::RecordAudit(const std::string& result) {
  families_->audits.Add({{"result", result}}).Increment();
}

void ServerMetrics::SetDriftedAdapters(int64_t count) {
  families_->drifted.Add({}).Set(static_cast<double>(count));
}

void ServerMetrics::RecordHarmfulRate(const std::string& when, const std::string& category,
                                      double rate) {
  families_->harmful_rate
      .Add({{"when", when}, {"category", KnownCategory(category)}}, HarmfulRates())
      .Observe(rate);
}

void ServerMetrics::AddTokens(int64_t tokens) {
  families_->tokens.Add({}).Increment(static_cast<double>(tokens));
}

void ServerMetrics::AddScannedRows(int64_t scanned, int64_t suspicious) {
  families_->rows_scanned.Add({}).Increment(static_cast<double>(scanned));
  families_->rows_suspicious.Add({}).Increment(static_cast<double>(suspicious));
}

void ServerMetrics::SetJobs(const std::map<std::string, int64_t>& by_state) {
  for (const char* state :
       {"queued", "running", "cancelling", "succeeded", "failed", "cancelled"}) {
    const auto found = by_state.find(state);
    families_->jobs.Add({{"state", state}})
        .Set(found == by_state.end() ? 0 : static_cast<double>(found->second));
  }
}

void ServerMetrics::SetOldestHeartbeatAge(absl::Duration age) {
  families_->heartbeat.Add({}).Set(absl::ToDoubleSeconds(age));
}

void ServerMetrics::SetAliveWorkers(int64_t workers) {
  families_->workers.Add({}).Set(static_cast<double>(workers));
}

void ServerMetrics::SetOutputReports(const std::string& state, int64_t count) {
  families_->reports.Add({{"state", state}}).Set(static_cast<double>(count));
}

std::shared_ptr<prometheus::Registry> ServerMetrics::registry() const {
  return families_->registry;
}

}  // namespace wardtune
