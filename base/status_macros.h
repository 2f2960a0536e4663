// Early returns for absl::Status and absl::StatusOr.
//
// The same semantics as the macros of newer Abseil releases, so that an upgrade deletes this file.
// Thread safety: none needed, there is no state.
#ifndef WARDTUNE_BASE_STATUS_MACROS_H_
#define WARDTUNE_BASE_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Returns from the enclosing function when `expr` (a Status) is not OK.
#define WT_RETURN_IF_ERROR(expr)         \
  do {                                   \
    absl::Status wt_status_ = (expr);    \
    if (!wt_status_.ok()) [[unlikely]] { \
      return wt_status_;                 \
    }                                    \
  } while (false)

#define WT_STATUS_CONCAT_INNER_(a, b) a##b
#define WT_STATUS_CONCAT_(a, b) WT_STATUS_CONCAT_INNER_(a, b)

// `WT_ASSIGN_OR_RETURN(auto x, F());` moves the value of a StatusOr into x or returns its status.
#define WT_ASSIGN_OR_RETURN(lhs, expr) \
  WT_ASSIGN_OR_RETURN_IMPL_(WT_STATUS_CONCAT_(wt_status_or_, __LINE__), lhs, expr)
#define WT_ASSIGN_OR_RETURN_IMPL_(temporary, lhs, expr) \
  auto temporary = (expr);                              \
  if (!temporary.ok()) [[unlikely]] {                   \
    return std::move(temporary).status();               \
  }                                                     \
  lhs = std::move(temporary).value()

#endif  // WARDTUNE_BASE_STATUS_MACROS_H_
