// How threads share work. Lanes: each does something large by itself, a whole forward pass or more,
// instead of sharing each operation with the others. Pieces: each takes the next small part of an
// operation as soon as it is free (docs/performance.md).
// Thread safety: re-entrant; lanes of one call run at the same time.
#ifndef WARDTUNE_WORKER_MODEL_LANES_H_
#define WARDTUNE_WORKER_MODEL_LANES_H_

#include <ATen/Parallel.h>
#include <c10/core/Device.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "worker/model/decoder.h"

namespace wardtune {

// Lanes pay where a thread is a core; other devices have their own ways.
inline int64_t LanesOn(at::Device device) { return device.is_cpu() ? ComputeThreads() : 1; }

// Calls run(i) for each i of [0, count) on all threads, which take equal shares in order, in the
// caller's inference mode, which is a thread's own. Throws what they throw.
template <typename F>
void ForEachInParallel(int64_t count, const F& run) {
  const bool inference = c10::InferenceMode::is_enabled();
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    const c10::InferenceMode as_caller(inference);
    for (int64_t i = begin; i < end; ++i) run(i);
  });
}

// Calls run(lane) for each of `lanes` lanes: side by side, each on one thread; a lone one on the
// caller, whose operations use all threads. Throws what a lane throws.
template <typename F>
void RunLanes(size_t lanes, F run) {
  if (lanes == 1) return run(size_t{0});
  // Inside a parallel region LibTorch and its GEMM library stay on the calling thread.
  ForEachInParallel(static_cast<int64_t>(lanes),
                    [&](int64_t lane) { run(static_cast<size_t>(lane)); });
}

// Enough that waiting for the last of them is little, and few enough that taking one is.
inline constexpr int64_t kPiecesPerThread = 16;

// Cuts [0, count) into pieces. Every thread asks for `make()` once, which gives it a run(begin,
// end, next) with scratch of its own, and calls that for one piece of its own and then for pieces
// that no other has taken: a core whose host is busy takes fewer. Each takes its `next` piece, or
// `count` if none is left, before it runs one, so that it can ask for what it needs then. Throws
// what they throw.
template <typename Make>
void SharePieces(int64_t count, const Make& make) {
  const int64_t most = at::in_parallel_region() ? 1 : ComputeThreads();
  const int64_t piece = std::max<int64_t>(1, count / (kPiecesPerThread * most));
  const int64_t threads = std::min(most, (count + piece - 1) / piece);
  std::atomic<int64_t> untaken{threads * piece};
  const auto take = [&] { return std::min(count, untaken.fetch_add(piece)); };
  ForEachInParallel(threads, [&](int64_t thread) {
    int64_t begin = thread * piece;
    auto run = make();
    while (begin < count) {
      const int64_t next = take();
      run(begin, std::min(count, begin + piece), next);
      begin = next;
    }
  });
}

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_LANES_H_
