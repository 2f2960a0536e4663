#include "worker/model/lanes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

namespace wardtune {
namespace {

TEST(SharePiecesTest, EveryPieceIsRunOnceAndWithScratchOfItsThread) {
  ConfigureComputeRuntime({.threads = 2});
  for (const int64_t count : {0, 1, 7, 32, 64, 65, 1000}) {
    std::vector<std::atomic<int>> runs(static_cast<size_t>(count));
    std::atomic<int> made{0};
    SharePieces(count, [&] {
      ++made;
      return [&, owner = std::this_thread::get_id()](int64_t begin, int64_t end, int64_t next) {
        EXPECT_TRUE(next >= end && next <= count);
        EXPECT_EQ(owner, std::this_thread::get_id());
        for (int64_t i = begin; i < end; ++i) ++runs[static_cast<size_t>(i)];
      };
    });
    for (const std::atomic<int>& times : runs) EXPECT_EQ(times, 1) << "of " << count;
    EXPECT_LE(made, std::min<int64_t>(count, 2));
  }
}

TEST(SharePiecesTest, ThrowsWhatAPieceThrows) {
  ConfigureComputeRuntime({.threads = 2});
  const auto share = [] {
    SharePieces(40, [] {
      return [](int64_t begin, int64_t end, int64_t) {
        if (begin <= 30 && 30 < end) throw std::runtime_error("piece");
      };
    });
  };
  EXPECT_THROW(share(), std::runtime_error);
}

TEST(SharePiecesTest, AThreadThatIsHeldUpTakesFewer) {
  ConfigureComputeRuntime({.threads = 2});
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  std::atomic<int64_t> left{20};
  std::atomic<bool> held{false};
  std::atomic<int64_t> of_the_held{0};
  SharePieces(20, [&] {
    return [&, mine = int64_t{0}, slow = false](int64_t, int64_t, int64_t) mutable {
      // The first thread that comes stays in its first piece until the other has run all but the
      // one that it has taken already.
      if (!held.exchange(true)) slow = true;
      --left;
      if (slow && mine++ == 0) {
        while (left > 1 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
      }
      of_the_held += slow ? 1 : 0;
    };
  });
  EXPECT_EQ(left, 0);
  EXPECT_EQ(of_the_held, 2);
}

TEST(SharePiecesTest, InsideALaneItStaysOnItsThread) {
  ConfigureComputeRuntime({.threads = 2});
  std::atomic<int> strangers{0};
  RunLanes(2, [&](size_t) {
    const auto lane = std::this_thread::get_id();
    SharePieces(9, [&] {
      return [&](int64_t, int64_t, int64_t) {
        strangers += std::this_thread::get_id() == lane ? 0 : 1;
      };
    });
  });
  EXPECT_EQ(strangers, 0);
}

}  // namespace
}  // namespace wardtune
