#include "worker/agent/memory_shares.h"

#include <gtest/gtest.h>

#include <optional>

namespace wardtune {
namespace {

TEST(MemoryShares, WhatIsPromisedCountsAsTakenEvenWhileItIsFree) {
  MemoryShares shares;
  EXPECT_EQ(shares.Left(1000), 1000);
  std::optional<MemoryShares::Share> first = shares.Promise(300);
  EXPECT_EQ(shares.Left(1000), 700) << "nothing of it is held yet";
  EXPECT_EQ(shares.Left(750), 700) << "some of it is held";
  EXPECT_EQ(shares.Left(600), 600) << "something else takes more than was promised";
  const MemoryShares::Share second = shares.Promise(200);
  EXPECT_EQ(shares.Left(900), 500);
  first.reset();
  EXPECT_EQ(shares.promised(), 200);
  EXPECT_EQ(shares.Left(1000), 800);
}

TEST(MemoryShares, AShareThatMovesIsGivenBackOnce) {
  MemoryShares shares;
  {
    MemoryShares::Share kept;
    {
      MemoryShares::Share made = shares.Promise(10);
      kept = std::move(made);
    }
    EXPECT_EQ(shares.promised(), 10);
  }
  EXPECT_EQ(shares.promised(), 0);
  EXPECT_EQ(shares.Left(50), 50) << "measured anew where nothing is promised";
}

}  // namespace
}  // namespace wardtune
