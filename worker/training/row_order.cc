#include "worker/training/row_order.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "worker/model/seeded_random.h"

namespace wardtune {

int64_t RowOrder::At(int64_t position) {
  if (!shuffle_) return position % rows_;
  const int64_t pass = position / rows_;
  if (pass != pass_) {
    permutation_.resize(rows_);
    std::iota(permutation_.begin(), permutation_.end(), int64_t{0});
    SplitMix64 random(MixSeed(seed_, static_cast<uint64_t>(pass)));
    for (int64_t i = rows_ - 1; i > 0; --i) {  // Fisher-Yates
      std::swap(permutation_[i], permutation_[random.NextBelow(static_cast<uint64_t>(i) + 1)]);
    }
    pass_ = pass;
  }
  return permutation_[position % rows_];
}

std::vector<size_t> CutByTokens(const std::vector<int64_t>& lengths, int64_t budget) {
  std::vector<size_t> cuts = {0};
  int64_t tokens = 0;
  for (size_t i = 0; i < lengths.size(); ++i) {
    if (i > cuts.back() && tokens + lengths[i] > budget) {
      cuts.push_back(i);
      tokens = 0;
    }
    tokens += lengths[i];
  }
  cuts.push_back(lengths.size());
  return cuts;
}

std::vector<int> DealRows(const std::vector<int64_t>& lengths, int ranks) {
  std::vector<size_t> order(lengths.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return lengths[a] > lengths[b]; });
  std::vector<int64_t> tokens(static_cast<size_t>(ranks), 0);
  std::vector<int> rank_of(lengths.size());
  for (const size_t row : order) {
    const auto least = std::min_element(tokens.begin(), tokens.end());
    rank_of[row] = static_cast<int>(least - tokens.begin());
    *least += lengths[row];
  }
  return rank_of;
}

}  // namespace wardtune
