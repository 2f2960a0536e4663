#include "worker/model/packed_tokens.h"

#include <algorithm>

#include "worker/model/tensor_ops.h"
#include "worker/model/torch_ops.h"

namespace wardtune {
namespace {

WholeSequences WholeOf(std::span<const std::span<const int32_t>> sequences,
                       std::span<const SharedPrefix> prefixes, const std::vector<int64_t>& offsets,
                       at::Device device) {
  WholeSequences whole;
  std::vector<int64_t> rows;
  std::vector<int64_t> first;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const auto begin = static_cast<int64_t>(rows.size());
    whole.offsets.push_back(begin);
    const auto [with, shared] = prefixes[i];
    if (shared > 0) whole.copies.push_back({begin, offsets[with], shared});
    for (int64_t t = 0; t < static_cast<int64_t>(sequences[i].size()); ++t) {
      if (t >= shared) first.push_back(begin + t);
      rows.push_back((t < shared ? offsets[with] : offsets[i]) + t);
    }
  }
  whole.offsets.push_back(static_cast<int64_t>(rows.size()));
  whole.rows = IndexTensor(rows, device);
  whole.first = IndexTensor(first, device);
  return whole;
}

}  // namespace

PackedTokens PackTokens(std::span<const std::span<const int32_t>> sequences, at::Device device,
                        std::span<const SharedPrefix> prefixes) {
  PackedTokens packed;
  std::vector<int64_t> ids;
  std::vector<int64_t> positions;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const int64_t shared = prefixes.empty() ? 0 : prefixes[i].tokens;
    packed.offsets.push_back(static_cast<int64_t>(ids.size()) - shared);
    for (int64_t t = shared; t < static_cast<int64_t>(sequences[i].size()); ++t) {
      ids.push_back(sequences[i][t]);
      positions.push_back(t);
    }
  }
  packed.offsets.push_back(static_cast<int64_t>(ids.size()));
  packed.ids = IndexTensor(ids, device);
  packed.positions = IndexTensor(positions, device);
  if (std::any_of(prefixes.begin(), prefixes.end(),
                  [](const SharedPrefix& prefix) { return prefix.tokens > 0; })) {
    packed.whole = WholeOf(sequences, prefixes, packed.offsets, device);
  }
  return packed;
}

}  // namespace wardtune
