#include "worker/security/guard_rows.h"

#include "base/sha256.h"

namespace wardtune {
namespace {

template <typename T>
void Hash(Sha256& hash, const T* values, size_t count) {
  hash.Update(values, count * sizeof(T));
}

}  // namespace

TrainingStream GuardStream(const GuardSet& set, const DecoderModel& base, int64_t batch) {
  return {.name = "guard",
          .rows = set.rows,
          .model = base,
          .rows_per_step = set.PerStep(batch),
          .weight = kGuardWeight};
}

std::string GuardDigest(const GuardSet& set) {
  if (!set.active()) return "";
  Sha256 hash;
  Hash(hash, &set.per_guarded_rows, 1);
  for (const TrainingRow& row : set.rows) {
    const auto length = static_cast<int64_t>(row.ids.size());
    Hash(hash, &length, 1);
    Hash(hash, row.ids.data(), row.ids.size());
    Hash(hash, row.loss_mask.data(), row.loss_mask.size());
  }
  return hash.HexDigest();
}

}  // namespace wardtune
