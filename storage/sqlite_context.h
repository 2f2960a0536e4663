// What the parts of SqliteStore share: connections, clock, limits, and the shapes of a mutation and
// of a page.
// Thread safety: all members may be used from any thread.
#ifndef WARDTUNE_STORAGE_SQLITE_CONTEXT_H_
#define WARDTUNE_STORAGE_SQLITE_CONTEXT_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "storage/metadata_store.h"
#include "storage/page_token.h"
#include "storage/request_log.h"
#include "storage/sqlite_connections.h"
#include "storage/sqlite_store.h"

namespace wardtune {

struct SqliteContext {
  const SqliteStoreOptions options;
  Clock& clock;
  std::unique_ptr<SqliteConnections> connections;
  PageTokens page_tokens;

  // Tells the listener; call it after the commit.
  void JobChanged(const std::string& job_id, JobState state) const {
    if (options.on_job_change) options.on_job_change(job_id, state);
  }
};

// Runs `body` in a read transaction and returns what it returns.
template <typename T>
absl::StatusOr<T> ReadWith(SqliteContext& context,
                           absl::FunctionRef<absl::StatusOr<T>(Database&)> body) {
  absl::StatusOr<T> result = absl::InternalError("unset");
  WT_RETURN_IF_ERROR(context.connections->Read([&](Database& database) {
    result = body(database);
    return result.status();
  }));
  return result;
}

// Runs `body` in a write transaction; what it returns is on the disk when OK.
template <typename T>
absl::StatusOr<T> WriteWith(SqliteContext& context,
                            absl::FunctionRef<absl::StatusOr<T>(Database&)> body) {
  absl::StatusOr<T> result = absl::InternalError("unset");
  WT_RETURN_IF_ERROR(context.connections->Write([&](Database& database) {
    result = body(database);
    return result.status();
  }));
  return result;
}

// A mutation that a request id makes safe to retry: answers from the log, or runs `body` and logs
// what `encode` makes of its row, all in one transaction.
template <typename Record>
absl::StatusOr<Answer> Mutate(SqliteContext& context, const RequestKey& key, Encode<Record> encode,
                              absl::FunctionRef<absl::StatusOr<Record>(Database&)> body) {
  return WriteWith<Answer>(context, [&](Database& database) -> absl::StatusOr<Answer> {
    WT_ASSIGN_OR_RETURN(std::optional<std::string> before, FindAnswer(database, key));
    if (before.has_value()) return Answer{*std::move(before), true};
    WT_ASSIGN_OR_RETURN(const Record record, body(database));
    Answer answer{encode(record), false};
    WT_RETURN_IF_ERROR(SaveAnswer(database, key, answer.response, context.clock.Now()));
    return answer;
  });
}

// A page being read: which rows are wanted.
struct PageWindow {
  int64_t limit;           // Rows on the page.
  std::string after;       // Key of the last row of the page before; empty on the first page.
  int64_t before_seq;      // The same for lists by falling seq.
  std::string_view scope;  // What the token is bound to.
};

inline absl::StatusOr<PageWindow> OpenPage(const SqliteContext& context, const PageRequest& request,
                                           std::string_view scope) {
  if (request.page_size < 0 || request.page_size > 1000) {
    return absl::InvalidArgumentError(
        absl::StrCat("page_size: ", request.page_size, " is not between 0 and 1000"));
  }
  PageWindow window{request.page_size == 0 ? 50 : request.page_size, "",
                    std::numeric_limits<int64_t>::max(), scope};
  if (request.page_token.empty()) return window;
  WT_ASSIGN_OR_RETURN(window.after, context.page_tokens.Read(scope, request.page_token));
  int64_t seq = 0;
  if (absl::SimpleAtoi(window.after, &seq)) window.before_seq = seq;
  return window;
}

// Reads the page's rows from a statement that was asked for `window.limit + 1` rows and whose first
// column is the page key.
template <typename Record>
absl::StatusOr<Page<Record>> ReadPage(const SqliteContext& context, const PageWindow& window,
                                      Statement rows, Record (*read)(Statement&)) {
  Page<Record> page;
  std::string last_key;
  while (true) {
    WT_ASSIGN_OR_RETURN(const bool more, rows.Step());
    if (!more) return page;
    if (static_cast<int64_t>(page.items.size()) == window.limit) {
      page.next_page_token = context.page_tokens.Make(window.scope, last_key);
      return page;
    }
    last_key = rows.Text();
    page.items.push_back(read(rows));
  }
}

}  // namespace wardtune

#endif  // WARDTUNE_STORAGE_SQLITE_CONTEXT_H_
