// How the rows of a step are laid out over micro-batches and compute lanes.
//
// A lane is one thread that takes a whole micro-batch forward and backward by itself. Lanes share
// nothing but the frozen weights, so they never wait for each other inside a layer; threads that
// share one micro-batch meet at every operation, which costs 6% of a step on two cores, more where
// rows are few (docs/performance.md).
// Thread safety: pure functions.
#ifndef WARDTUNE_WORKER_TRAINING_MICRO_BATCH_PLAN_H_
#define WARDTUNE_WORKER_TRAINING_MICRO_BATCH_PLAN_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace wardtune {

// Fewer tokens than this make a lane's GEMMs too small to run at full speed.
inline constexpr int64_t kMinLaneTokens = 96;

// A lane's micro-batch has no more tokens unless a row has. One of 256 tokens runs at full speed
// (docs/performance.md), so rows of as many go one after the other, which keeps half the
// activations.
inline constexpr int64_t kEnoughLaneTokens = 2 * 256 - 1;

// Tokens of the shortest and the longest row of a run or a step.
struct RowLengths {
  int64_t shortest = 0;
  int64_t longest = 0;
};

// Most tokens that PlanStep sends through the model at once: the budget, but no more than what is
// enough for each of several lanes, and never less than the longest row.
int64_t TokensAtOnce(int64_t budget, const RowLengths& rows, int64_t lanes);

// Micro-batches that run side by side, one a lane; a lone one runs on all threads. Each lists its
// rows in rising order.
using MicroBatchWave = std::vector<std::vector<size_t>>;

// Cuts the rows, in their order, into waves of at most `budget` tokens (one row at least), and
// spreads a wave over `lanes` lanes when they get about the same share of its tokens. The plan
// depends on the lengths alone, never on what the rows say.
// REQUIRES: budget and lanes at least 1.
std::vector<MicroBatchWave> PlanMicroBatches(const std::vector<int64_t>& lengths, int64_t budget,
                                             int64_t lanes);

// Micro-batches that one lane runs one after the other.
using LaneWork = std::vector<std::vector<size_t>>;
// The work of lanes that run side by side; they wait for each other at its end.
using LaneRound = std::vector<LaneWork>;

// What a plan of a step knows of its rows.
struct StepRows {
  std::vector<int64_t> lengths;  // in tokens
  // Rows that may turn out to have no gradient.
  std::vector<bool> held;
  // Rows of one group begin with the same `shared` tokens, which go through the model once a
  // micro-batch. Groups are numbers from 0.
  std::vector<size_t> group;
  std::vector<int64_t> shared;
};

// The same for a step, whose rows may go through the model in any order: they are shared out
// between the lanes once, which balances better than wave by wave, and each lane cuts its own into
// micro-batches of its share of TokensAtOnce. Rows that would keep one lane waiting for another,
// such as the ninth of nine alike on two lanes, come after in a round of all threads, fewer than
// there are lanes; held rows are the first to be left to it: among others they would be run back
// all the same. Where the lanes do not balance, or a row is longer than a lane's share, the rounds
// are the waves of PlanMicroBatches. Where rows share tokens, which each lane has to run for
// itself, all threads take them together if that is cheaper; what goes through the model at once
// counts them once, and whole rows are never more than four times what would go without sharing.
// REQUIRES: one entry of each list for every row.
std::vector<LaneRound> PlanStep(const StepRows& rows, int64_t budget, int64_t lanes);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_TRAINING_MICRO_BATCH_PLAN_H_
