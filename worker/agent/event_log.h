// The worker's log: one JSON object a line.
//
// Callers pass ids, codes, counts and durations; never a customer's text, a key, a prompt or an
// answer.
// Thread safety: all methods may be called from any thread; lines do not mix.
#ifndef WARDTUNE_WORKER_AGENT_EVENT_LOG_H_
#define WARDTUNE_WORKER_AGENT_EVENT_LOG_H_

#include <cstdint>
#include <initializer_list>
#include <ostream>
#include <string>
#include <string_view>
#include <variant>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"

namespace wardtune {

struct EventField {
  std::string_view name;
  std::variant<std::string, int64_t, double> value;
};

class EventLog {
 public:
  // `out` and `clock` must outlive the log.
  EventLog(std::ostream& out, Clock& clock) : clock_(clock), out_(out) {}

  // Writes {"time": ..., "event": `event`, fields...} and flushes.
  void Write(std::string_view event, std::initializer_list<EventField> fields);

 private:
  Clock& clock_;
  absl::Mutex mutex_;
  std::ostream& out_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_AGENT_EVENT_LOG_H_
