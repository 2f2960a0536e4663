#include "base/clock.h"

#include <gtest/gtest.h>

namespace wardtune {
namespace {

TEST(FakeClockTest, AdvanceMovesBothClocks) {
  FakeClock clock;
  const absl::Time wall = clock.Now();
  const absl::Duration monotonic = clock.Monotonic();
  clock.Advance(absl::Seconds(5));
  EXPECT_EQ(clock.Now() - wall, absl::Seconds(5));
  EXPECT_EQ(clock.Monotonic() - monotonic, absl::Seconds(5));
}

TEST(FakeClockTest, AWallJumpLeavesMonotonicTimeAlone) {
  FakeClock clock;
  const absl::Duration monotonic = clock.Monotonic();
  clock.JumpWallTime(-absl::Hours(1));
  EXPECT_EQ(clock.Monotonic(), monotonic);
}

TEST(SystemClockTest, MonotonicTimePassesWhileSleeping) {
  SystemClock clock;
  const absl::Duration before = clock.Monotonic();
  clock.Sleep(absl::Milliseconds(2));
  EXPECT_GE(clock.Monotonic() - before, absl::Milliseconds(2));
}

}  // namespace
}  // namespace wardtune
