#include "worker/training/row_prefixes.h"

#include <algorithm>
#include <limits>

namespace wardtune {
namespace {

// What the products save on a smaller share of a row is lost to the attention's copies
// (docs/performance.md).
constexpr int64_t kLeastShare = 20;  // a twentieth

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

int64_t IfWorthSharing(int64_t tokens, size_t of) {
  return kLeastShare * tokens < static_cast<int64_t>(of) ? 0 : tokens;
}

}  // namespace

void AppendPrefixes(std::span<const TrainingRow* const> rows, std::vector<SharedPrefix>& prefixes) {
  const size_t first = prefixes.size();
  for (const TrainingRow* row : rows) {
    const int64_t shared = std::min(Alike(*row, *rows[0]), BeforeLoss(*row));
    prefixes.push_back(
        {first, prefixes.size() == first ? 0 : IfWorthSharing(shared, row->ids.size())});
  }
}

int64_t CommonPrefix(std::span<const TrainingRow* const> rows) {
  if (rows.size() < 2) return 0;
  int64_t common = std::numeric_limits<int64_t>::max();
  size_t longest = 0;
  for (const TrainingRow* row : rows) {
    longest = std::max(longest, row->ids.size());
    common = std::min({common, Alike(*row, *rows[0]), BeforeLoss(*row)});
  }
  return IfWorthSharing(common, longest);
}

PackedTokens PackRows(std::span<const TrainingRow* const> rows, bool share, at::Device device) {
  std::vector<std::span<const int32_t>> views;
  for (const TrainingRow* row : rows) views.emplace_back(row->ids);
  std::vector<SharedPrefix> prefixes;
  if (share) AppendPrefixes(rows, prefixes);
  return PackTokens(views, device, prefixes);
}

}  // namespace wardtune
