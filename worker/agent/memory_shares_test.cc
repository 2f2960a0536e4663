#include "worker/agent/memory_shares.h"

#include <gtest/gtest.h>

#include <optional>

namespace wardtune {
namespace {

TEST(MemoryShares, WhatARunIsYetToTakeIsNotLeftForOthers) {
  MemoryShares shares;
  EXPECT_EQ(shares.Left(1000), 1000);
  MemoryShares::Share first = shares.Promise(300, 1000);
  EXPECT_EQ(shares.Left(1000), 700) << "nothing of it is held yet";
  first.CountHeld(980);
  EXPECT_EQ(shares.Left(980), 700) << "20 are held";
  EXPECT_EQ(shares.Left(730), 450) << "something that was never promised took 250 more";
  std::optional<MemoryShares::Share> second = shares.Promise(200, 730);
  second->CountHeld(530);
  EXPECT_EQ(shares.Left(530), 250) << "all of the second is held";
  second.reset();
  EXPECT_EQ(shares.Left(730), 450);
  first.CountHeld(100);
  EXPECT_EQ(shares.Left(100), 100) << "no more is held than was promised";
}

TEST(MemoryShares, AShareThatMovesIsGivenBackOnce) {
  MemoryShares shares;
  {
    MemoryShares::Share kept;
    kept.CountHeld(5);  // where nothing was promised
    {
      MemoryShares::Share made = shares.Promise(10, 50);
      kept = std::move(made);
    }
    EXPECT_EQ(shares.Left(50), 40);
  }
  EXPECT_EQ(shares.Left(50), 50);
}

TEST(MemoryShares, ThoseThatWaitKeepTheirOrder) {
  MemoryShares shares;
  const MemoryShares::Job job(shares);
  std::optional<MemoryShares::Place> first(shares);
  const MemoryShares::Place second(shares);
  EXPECT_EQ(shares.waiting(), 2);
  EXPECT_EQ(shares.jobs(), 1);
  EXPECT_TRUE(first->first());
  EXPECT_FALSE(second.first());
  first.reset();
  EXPECT_TRUE(second.first());
  EXPECT_EQ(shares.waiting(), 1);
}

}  // namespace
}  // namespace wardtune
