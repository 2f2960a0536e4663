// Every metric that the server exports, in one place. Units are in the names; no label names a
// tenant or a job, so the number of series stays bounded.
// Thread safety: all methods may be called from any thread.
#ifndef WARDTUNE_SERVER_RPC_SERVER_METRICS_H_
#define WARDTUNE_SERVER_RPC_SERVER_METRICS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "storage/job_state.h"

namespace prometheus {
class Registry;
}

namespace wardtune {

class ServerMetrics {
 public:
  explicit ServerMetrics(const std::string& version);
  ~ServerMetrics();

  // One finished RPC.
  void RecordRpc(const std::string& method, const std::string& code, absl::Duration duration);
  // How long a job waited from its creation to its first lease.
  void RecordQueueWait(absl::Duration wait);
  // A stage of a job that ended: `preparing`, `training` and so on.
  void RecordStage(const std::string& stage, absl::Duration duration);
  // What became of a job; one that has not ended counts for nothing. `error_code`: of a failed job.
  void RecordEnded(JobState state, const std::string& error_code);
  // What the safety gate did with a result: `passed`, `quarantined` or `released`.
  void RecordGate(const std::string& outcome);
  // What came of an audit of an adapter: `passed`, `drifted` or `failed`.
  void RecordAudit(const std::string& result);
  // Share of harmful answers, from 0 to 1, of a finished job's base (`before`) or result (`after`).
  void RecordHarmfulRate(const std::string& when, const std::string& category, double rate);
  // Tokens of customers' rows that were trained on.
  void AddTokens(int64_t tokens);
  // Rows of an ended job that were scanned by the security vector, and those found suspicious.
  void AddScannedRows(int64_t scanned, int64_t suspicious);

  // Jobs by state, all kinds together. A state that is missing goes to 0.
  void SetJobs(const std::map<std::string, int64_t>& by_state);
  // Age of the oldest heartbeat among running work; 0 when nothing runs.
  void SetOldestHeartbeatAge(absl::Duration age);
  void SetAliveWorkers(int64_t workers);
  // Reported outputs in a state: `open`, `confirmed` or `dismissed`.
  void SetOutputReports(const std::string& state, int64_t count);

  // Adapters whose last audit with a score found drift.
  void SetDriftedAdapters(int64_t count);

  // What /metrics serves.
  std::shared_ptr<prometheus::Registry> registry() const;

 private:
  struct Families;
  std::unique_ptr<Families> families_;
};

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_RPC_SERVER_METRICS_H_
