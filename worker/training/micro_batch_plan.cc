#include "worker/training/micro_batch_plan.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <numeric>
#include <set>
#include <utility>

#include "worker/training/row_order.h"

namespace wardtune {
namespace {

// The fullest lane may have this many times its even share; beyond, sharing every operation is
// faster than waiting for that lane.
constexpr double kMaxImbalance = 1.3;

// What a token costs that all threads share, beside one of a lane, and what a round costs whatever
// is in it: all weights are read once more. In tokens of a lane; a little more than was measured,
// so that rows are left out only where it pays (docs/performance.md).
constexpr double kSharedCost = 1.1;
constexpr double kRoundCost = 12.0;

double CostOfSharing(int64_t tokens, int64_t lanes) {
  return kSharedCost * static_cast<double>(tokens) / static_cast<double>(lanes) + kRoundCost;
}

// Whole rows, for which attention takes memory, are at most this many times the budget.
constexpr int64_t kMaxSharing = 4;

struct Shares {
  MicroBatchWave lanes;  // empty when they would not balance
  double fullest = 0.0;  // tokens of the fullest lane
};

// Longest row first, each to the lane with the fewest tokens (LPT rule).
Shares ShareOut(const std::vector<int64_t>& lengths, std::vector<size_t> rows, int64_t lanes) {
  std::stable_sort(rows.begin(), rows.end(),
                   [&](size_t a, size_t b) { return lengths[a] > lengths[b]; });
  Shares shares{MicroBatchWave(static_cast<size_t>(lanes)), 0.0};
  std::vector<int64_t> tokens(shares.lanes.size(), 0);
  for (const size_t row : rows) {
    const auto lane =
        static_cast<size_t>(std::min_element(tokens.begin(), tokens.end()) - tokens.begin());
    shares.lanes[lane].push_back(row);
    tokens[lane] += lengths[row];
  }
  const int64_t total = std::accumulate(tokens.begin(), tokens.end(), int64_t{0});
  shares.fullest = static_cast<double>(*std::max_element(tokens.begin(), tokens.end()));
  const double even = static_cast<double>(total) / static_cast<double>(lanes);
  if (total < lanes * kMinLaneTokens || shares.fullest > even * kMaxImbalance) {
    shares.lanes.clear();
  }
  for (std::vector<size_t>& lane : shares.lanes) std::sort(lane.begin(), lane.end());
  return shares;
}

std::vector<size_t> Numbers(size_t begin, size_t end) {
  std::vector<size_t> rows(end - begin);
  std::iota(rows.begin(), rows.end(), begin);
  return rows;
}

struct StepShares {
  MicroBatchWave lanes;        // empty when they would not balance
  std::vector<size_t> shared;  // rows that all threads share once the lanes are done
};

// Up to lanes - 1 rows are left to all threads together, held ones first, then the shortest: as
// many as make the step cheapest, if any. So few fit the budget wherever a lane's share of it takes
// each.
StepShares ShareOutStep(const std::vector<int64_t>& lengths, const std::vector<bool>& held,
                        int64_t lanes) {
  std::vector<size_t> rows = Numbers(0, lengths.size());
  const auto order = [&](size_t row) { return std::pair(bool{held[row]}, -lengths[row]); };
  std::stable_sort(rows.begin(), rows.end(),
                   [&](size_t a, size_t b) { return order(a) < order(b); });
  const Shares all = ShareOut(lengths, rows, lanes);
  StepShares step{all.lanes, {}};
  double least =
      all.lanes.empty()
          ? CostOfSharing(std::accumulate(lengths.begin(), lengths.end(), int64_t{0}), lanes)
          : all.fullest;
  int64_t left = 0;  // tokens of the rows left out
  std::vector<size_t> left_out;
  for (int64_t count = 1; count < lanes && rows.size() > 1; ++count) {
    left_out.push_back(rows.back());
    left += lengths[rows.back()];
    rows.pop_back();
    const Shares fewer = ShareOut(lengths, rows, lanes);
    const double cost = fewer.fullest + CostOfSharing(left, lanes);
    if (fewer.lanes.empty() || cost >= least) continue;
    least = cost;
    step = {fewer.lanes, left_out};
  }
  std::sort(step.shared.begin(), step.shared.end());
  return step;
}

LaneWork CutLane(const std::vector<int64_t>& lengths, const std::vector<size_t>& rows,
                 int64_t budget) {
  std::vector<int64_t> own;
  for (const size_t row : rows) own.push_back(lengths[row]);
  const std::vector<size_t> cuts = CutByTokens(own, budget);
  LaneWork work;
  for (size_t i = 0; i + 1 < cuts.size(); ++i) {
    work.emplace_back(rows.begin() + static_cast<std::ptrdiff_t>(cuts[i]),
                      rows.begin() + static_cast<std::ptrdiff_t>(cuts[i + 1]));
  }
  return work;
}

RowLengths LengthsOf(const std::vector<int64_t>& lengths) {
  const auto [shortest, longest] = std::minmax_element(lengths.begin(), lengths.end());
  return {*shortest, *longest};
}

// Tokens of all groups' beginnings, which a micro-batch has at most.
int64_t PrefixTokens(const StepRows& rows) {
  std::map<size_t, int64_t> of_group;
  for (size_t i = 0; i < rows.group.size(); ++i) of_group[rows.group[i]] = rows.shared[i];
  int64_t tokens = 0;
  for (const auto& [group, shared] : of_group) tokens += shared;
  return tokens;
}

// Tokens that really go through the model.
int64_t TokensOf(const std::vector<size_t>& micro_batch, const StepRows& rows) {
  int64_t tokens = 0;
  std::set<size_t> groups;
  for (const size_t row : micro_batch) {
    const bool has_the_prefix = groups.insert(rows.group[row]).second;
    tokens += rows.lengths[row] - (has_the_prefix ? 0 : rows.shared[row]);
  }
  return tokens;
}

// In tokens of a lane. Every micro-batch reads all weights once more.
double CostOf(const std::vector<LaneRound>& plan, const StepRows& rows, int64_t lanes) {
  double cost = 0.0;
  for (const LaneRound& round : plan) {
    double slowest = 0.0;
    for (const LaneWork& work : round) {
      double lane = 0.0;
      for (const std::vector<size_t>& micro_batch : work) {
        const auto tokens = static_cast<double>(TokensOf(micro_batch, rows));
        const double all_threads =
            round.size() == 1 ? kSharedCost / static_cast<double>(lanes) : 1.0;
        lane += kRoundCost + all_threads * tokens;
      }
      slowest = std::max(slowest, lane);
    }
    cost += slowest;
  }
  return cost;
}

// PlanStep of rows that share nothing, or of what each has to itself.
std::vector<LaneRound> PlanOwnTokens(const std::vector<int64_t>& lengths,
                                     const std::vector<bool>& held, int64_t budget, int64_t lanes) {
  const int64_t total = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  const RowLengths extremes = LengthsOf(lengths);
  budget = std::min(budget, TokensAtOnce(budget, extremes, lanes));
  const bool one_wave = total <= budget;
  const bool rows_fit = extremes.longest <= budget / lanes;
  std::vector<LaneRound> rounds;
  if (lanes > 1 && (one_wave || rows_fit)) {
    const StepShares shares = ShareOutStep(lengths, held, lanes);
    LaneRound round;
    for (const auto& rows : shares.lanes) {
      round.push_back(CutLane(lengths, rows, one_wave ? budget : budget / lanes));
    }
    if (!round.empty()) rounds.push_back(std::move(round));
    if (!shares.shared.empty()) rounds.push_back(LaneRound{LaneWork{shares.shared}});
    if (!rounds.empty()) return rounds;
  }
  for (MicroBatchWave& wave : PlanMicroBatches(lengths, budget, lanes)) {
    LaneRound& round = rounds.emplace_back();
    for (std::vector<size_t>& rows : wave) round.push_back({std::move(rows)});
  }
  return rounds;
}

}  // namespace

int64_t TokensAtOnce(int64_t budget, const RowLengths& rows, int64_t lanes) {
  if (lanes > 1) {
    const bool rows_join = rows.shortest <= kEnoughLaneTokens / 2;
    const int64_t enough = rows_join ? kEnoughLaneTokens : 0;
    budget = std::min(budget, lanes * std::max(rows.longest, enough));
  }
  return std::max(budget, rows.longest);
}

std::vector<MicroBatchWave> PlanMicroBatches(const std::vector<int64_t>& lengths, int64_t budget,
                                             int64_t lanes) {
  const std::vector<size_t> cuts = CutByTokens(lengths, budget);
  std::vector<MicroBatchWave> plan;
  for (size_t i = 0; i + 1 < cuts.size(); ++i) {
    MicroBatchWave wave;
    const std::vector<size_t> rows = Numbers(cuts[i], cuts[i + 1]);
    if (lanes > 1) wave = ShareOut(lengths, rows, lanes).lanes;
    if (wave.empty()) wave.push_back(rows);
    plan.push_back(std::move(wave));
  }
  return plan;
}

std::vector<LaneRound> PlanStep(const StepRows& rows, int64_t budget, int64_t lanes) {
  if (rows.lengths.empty()) return {};
  std::vector<LaneRound> best = PlanOwnTokens(rows.lengths, rows.held, budget, lanes);
  const int64_t prefixes = PrefixTokens(rows);
  if (prefixes == 0) return best;
  budget = std::min(budget, TokensAtOnce(budget, LengthsOf(rows.lengths), lanes));
  double least = CostOf(best, rows, lanes);
  for (const int64_t side_by_side : {lanes, int64_t{1}}) {
    const int64_t room = budget - side_by_side * prefixes;
    if (room <= 0) continue;
    std::vector<int64_t> own;
    for (size_t i = 0; i < rows.lengths.size(); ++i) {
      const int64_t all = kMaxSharing * budget;
      const int64_t share_of_room = (rows.lengths[i] * room + all - 1) / all;
      own.push_back(std::max(rows.lengths[i] - rows.shared[i], share_of_room));
    }
    std::vector<LaneRound> plan = PlanOwnTokens(own, rows.held, room, side_by_side);
    const double cost = CostOf(plan, rows, lanes);
    if (cost >= least) continue;
    least = cost;
    best = std::move(plan);
  }
  return best;
}

}  // namespace wardtune
