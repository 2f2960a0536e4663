#include "worker/training/row_prefixes.h"

#include <algorithm>
#include <limits>

namespace wardtune {
namespace {

// By their count of operations: what the products save on fewer is lost to the attention's copies.
constexpr int64_t kWorthSharing = 4;

int64_t Alike(const TrainingRow& a, const TrainingRow& b) {
  return std::mismatch(a.ids.begin(), a.ids.end(), b.ids.begin(), b.ids.end()).first -
         a.ids.begin();
}

// Tokens before the one from which the first supervised one is predicted.
int64_t BeforeLoss(const TrainingRow& row) {
  return std::find_if(row.loss_mask.begin() + 1, row.loss_mask.end(),
                      [](uint8_t m) { return m != 0; }) -
         row.loss_mask.begin() - 1;
}

int64_t IfWorthSharing(int64_t tokens) { return tokens < kWorthSharing ? 0 : tokens; }

}  // namespace

void AppendPrefixes(std::span<const TrainingRow* const> rows, std::vector<SharedPrefix>& prefixes) {
  const size_t first = prefixes.size();
  for (const TrainingRow* row : rows) {
    const int64_t shared = std::min(Alike(*row, *rows[0]), BeforeLoss(*row));
    prefixes.push_back({first, prefixes.size() == first ? 0 : IfWorthSharing(shared)});
  }
}

int64_t CommonPrefix(std::span<const TrainingRow* const> rows) {
  if (rows.size() < 2) return 0;
  int64_t common = std::numeric_limits<int64_t>::max();
  for (const TrainingRow* row : rows) {
    common = std::min({common, Alike(*row, *rows[0]), BeforeLoss(*row)});
  }
  return IfWorthSharing(common);
}

PackedTokens PackRows(std::span<const TrainingRow* const> rows, bool share, at::Device device) {
  std::vector<std::span<const int32_t>> views;
  for (const TrainingRow* row : rows) views.emplace_back(row->ids);
  std::vector<SharedPrefix> prefixes;
  if (share) AppendPrefixes(rows, prefixes);
  return PackTokens(views, device, prefixes);
}

}  // namespace wardtune
