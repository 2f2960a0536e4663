#include "worker/training/micro_batch_plan.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <utility>

#include "worker/training/row_order.h"

namespace wardtune {
namespace {

// The fullest lane may have this many times its even share; beyond, sharing every operation is
// faster than waiting for that lane.
constexpr double kMaxImbalance = 1.3;

// Longest row first, each to the lane with the fewest tokens (LPT rule).
MicroBatchWave Spread(const std::vector<int64_t>& lengths, size_t begin, size_t end,
                      int64_t lanes) {
  std::vector<size_t> order(end - begin);
  std::iota(order.begin(), order.end(), begin);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return lengths[a] > lengths[b]; });
  MicroBatchWave wave(static_cast<size_t>(lanes));
  std::vector<int64_t> tokens(wave.size(), 0);
  for (const size_t row : order) {
    const auto lane =
        static_cast<size_t>(std::min_element(tokens.begin(), tokens.end()) - tokens.begin());
    wave[lane].push_back(row);
    tokens[lane] += lengths[row];
  }
  const int64_t total = std::accumulate(tokens.begin(), tokens.end(), int64_t{0});
  const auto fullest = static_cast<double>(*std::max_element(tokens.begin(), tokens.end()));
  const double share = static_cast<double>(total) / static_cast<double>(lanes);
  if (total < lanes * kMinLaneTokens || fullest > share * kMaxImbalance) return {};
  for (std::vector<size_t>& rows : wave) std::sort(rows.begin(), rows.end());
  return wave;
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
    if (lanes > 1) wave = Spread(lengths, cuts[i], cuts[i + 1], lanes);
    if (wave.empty()) {
      wave.emplace_back(cuts[i + 1] - cuts[i]);
      std::iota(wave[0].begin(), wave[0].end(), cuts[i]);
    }
    plan.push_back(std::move(wave));
  }
  return plan;
}

std::vector<LaneRound> PlanStep(const std::vector<int64_t>& lengths, int64_t budget,
                                int64_t lanes) {
  if (lengths.empty()) return {};
  const int64_t total = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  const auto [shortest, longest] = std::minmax_element(lengths.begin(), lengths.end());
  budget = std::min(budget, TokensAtOnce(budget, {*shortest, *longest}, lanes));
  const bool one_wave = total <= budget;
  const bool rows_fit = *longest <= budget / lanes;
  if (lanes > 1 && !one_wave && rows_fit) {
    const MicroBatchWave shares = Spread(lengths, 0, lengths.size(), lanes);
    LaneRound round;
    for (const auto& rows : shares) round.push_back(CutLane(lengths, rows, budget / lanes));
    if (!round.empty()) return {round};
  }
  std::vector<LaneRound> rounds;
  for (MicroBatchWave& wave : PlanMicroBatches(lengths, budget, lanes)) {
    LaneRound& round = rounds.emplace_back();
    for (std::vector<size_t>& rows : wave) round.push_back({std::move(rows)});
  }
  return rounds;
}

}  // namespace wardtune
