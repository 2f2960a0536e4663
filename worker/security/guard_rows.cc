#include "worker/security/guard_rows.h"

#include "base/sha256.h"

namespace wardtune {
namespace {

template <typename T>
void Hash(Sha256& hash, const T* values, size_t count) {
  hash.Update(values, count * sizeof(T));
}

void Hash(Sha256& hash, const std::vector<TrainingRow>& rows) {
  for (const TrainingRow& row : rows) {
    const auto length = static_cast<int64_t>(row.ids.size());
    Hash(hash, &length, 1);
    Hash(hash, row.ids.data(), row.ids.size());
    Hash(hash, row.loss_mask.data(), row.loss_mask.size());
  }
}

}  // namespace

std::vector<TrainingStream> GuardStreams(const GuardSet& set, const DecoderModel& base,
                                         int64_t batch) {
  std::vector<TrainingStream> streams;
  if (!set.active()) return streams;
  if (!set.learned.empty()) {
    streams.push_back({.name = "guard rows to learn",
                       .rows = set.learned,
                       .model = base,
                       .rows_per_step = set.PerStep(batch),
                       .weight = kRefusalWeight});
  }
  if (!set.held.empty()) {
    streams.push_back({.name = "guard rows to hold",
                       .rows = set.held,
                       .model = base,
                       .objective = Objective::kKlToBase,
                       .kl_slack = kHoldSlack,
                       .rows_per_step = set.PerStep(batch),
                       .weight = kHoldWeight});
  }
  return streams;
}

std::string GuardDigest(const GuardSet& set) {
  if (!set.active()) return "";
  Sha256 hash;
  Hash(hash, &set.per_guarded_rows, 1);
  Hash(hash, set.learned);
  if (!set.held.empty()) {  // sets from before there were such rows keep their digest
    hash.Update("held");
    Hash(hash, set.held);
  }
  return hash.HexDigest();
}

}  // namespace wardtune
