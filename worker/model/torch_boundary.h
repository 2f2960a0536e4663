// Turns what LibTorch throws into absl::Status. Only files that compute with tensors include this.
// Thread safety: re-entrant.
#ifndef WARDTUNE_WORKER_MODEL_TORCH_BOUNDARY_H_
#define WARDTUNE_WORKER_MODEL_TORCH_BOUNDARY_H_

#include <c10/util/Exception.h>

#include <new>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "worker/model/out_of_memory.h"

namespace wardtune {

// The status of the exception in flight; `what` says what was being done.
// REQUIRES: called inside a catch block.
inline absl::Status StatusOfCurrentException(std::string_view what) {
  const std::string doing(what);
  try {
    throw;
  } catch (const c10::OutOfMemoryError& error) {
    return OutOfMemoryError(
        absl::StrCat(doing, ": out of device memory: ", error.what_without_backtrace()));
  } catch (const c10::Error& error) {
    const std::string message = error.what_without_backtrace();
    // The CPU allocator reports exhaustion as a plain c10::Error.
    if (message.find("can't allocate memory") != std::string::npos) {
      return OutOfMemoryError(absl::StrCat(doing, ": out of memory: ", message));
    }
    return absl::InternalError(absl::StrCat(doing, ": ", message));
  } catch (const std::bad_alloc&) {
    return OutOfMemoryError(absl::StrCat(doing, ": out of memory"));
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat(doing, ": ", error.what()));
  }
}

// Runs f, which returns a Status or StatusOr, and turns what it throws into a Status.
template <typename F>
auto AtTorchBoundary(std::string_view what, F f) -> decltype(f()) {
  try {
    return std::move(f)();
  } catch (...) {
    return StatusOfCurrentException(what);
  }
}

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_TORCH_BOUNDARY_H_
