// The server's log: one JSON object a line, on one stream.
//
// Callers pass ids, codes and durations, never a customer's text, a key or a file's content.
// Thread safety: all methods of StructuredLog may be called from any thread; lines do not mix.
#ifndef WARDTUNE_SERVER_RPC_STRUCTURED_LOG_H_
#define WARDTUNE_SERVER_RPC_STRUCTURED_LOG_H_

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

struct LogField {
  std::string_view name;  // a fixed identifier
  std::variant<std::string, int64_t, double> value;
};

class StructuredLog {
 public:
  // `out` and `clock` must outlive the log.
  StructuredLog(std::ostream& out, Clock& clock) : clock_(clock), out_(out) {}

  // Writes {"time": ..., "event": `event`, fields...} and flushes.
  void Write(std::string_view event, std::initializer_list<LogField> fields);

 private:
  Clock& clock_;
  absl::Mutex mutex_;
  std::ostream& out_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_RPC_STRUCTURED_LOG_H_
