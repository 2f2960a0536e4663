// Which rows a step trains on: a pure function of (seed, stream, step), so that a resumed run needs
// no state of a generator.
// Thread safety: one object belongs to one thread at a time.
#ifndef WARDTUNE_WORKER_TRAINING_ROW_ORDER_H_
#define WARDTUNE_WORKER_TRAINING_ROW_ORDER_H_

#include <cstdint>
#include <vector>

namespace wardtune {

class RowOrder {
 public:
  // Every pass over `rows` rows is a permutation drawn from (seed, pass), or without `shuffle` the
  // rows' own order.
  RowOrder(uint64_t seed, int64_t rows, bool shuffle = true)
      : seed_(seed), rows_(rows), shuffle_(shuffle) {}

  // The row at `position` of the endless sequence of passes.
  int64_t At(int64_t position);

 private:
  const uint64_t seed_;
  const int64_t rows_;
  const bool shuffle_;
  int64_t pass_ = -1;  // of permutation_
  std::vector<int64_t> permutation_;
};

// Cuts rows, in their order, into pieces of at most `budget` tokens and at least one row. Returns
// the first index of every piece, and the number of rows at the end.
std::vector<size_t> CutByTokens(const std::vector<int64_t>& lengths, int64_t budget);

// Deals rows out to `ranks` processes so that each gets about as many tokens: the longest first, to
// whoever has the fewest. Returns the rank of each row; some get none when rows are few.
std::vector<int> DealRows(const std::vector<int64_t>& lengths, int ranks);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_TRAINING_ROW_ORDER_H_
