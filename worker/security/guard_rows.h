// Guard rows: the provider's own rows that train beside the customer's, with the security vector
// off. They hold the state that is delivered where the vector cannot: on harm in wordings that it
// has never seen (docs/research.md). Unless the provider wants refusals taught, they are the base's
// own answers, and what is held is the base's whole distribution there: the state neither gets
// worse nor learns anything.
// Thread safety: plain data and pure functions.
#ifndef WARDTUNE_WORKER_SECURITY_GUARD_ROWS_H_
#define WARDTUNE_WORKER_SECURITY_GUARD_ROWS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "worker/model/decoder.h"
#include "worker/training/training_row.h"

namespace wardtune {

// Customers' rows that guard rows are counted against.
inline constexpr int64_t kGuardedRows = 8;

// Weight of the mean loss of guard rows with refusals beside the customer's; more of it costs task
// accuracy. Of held rows' mean KL, which is 0 as long as the state answers as the base does
// (docs/research.md).
inline constexpr double kRefusalWeight = 1.25;
inline constexpr double kHoldWeight = 30.0;
// Nats a token by which held rows may drift from the base.
inline constexpr double kHoldSlack = 0.05;

struct GuardSet {
  // Learned as any row is: refusals, and answers of the base beside them.
  std::vector<TrainingRow> learned;
  // The base's own answers to harmful and general prompts: what the base says there is held.
  std::vector<TrainingRow> held;
  // Rows of each kind that there is, beside every kGuardedRows of a customer's rows; 0: none are
  // trained.
  int64_t per_guarded_rows = 0;

  bool active() const { return per_guarded_rows > 0 && size() > 0; }
  size_t size() const { return learned.size() + held.size(); }
  // How many streams it makes.
  size_t kinds() const {
    return active() ? (learned.empty() ? 0u : 1u) + (held.empty() ? 0u : 1u) : 0u;
  }
  // Of each kind in a step of `batch` customer's rows, rounded up. REQUIRES: active().
  int64_t PerStep(int64_t batch) const {
    return (batch * per_guarded_rows + kGuardedRows - 1) / kGuardedRows;
  }
};

// `count` of the items, evenly spread over them; all where there are no more.
template <typename T>
std::vector<T> Spread(const std::vector<T>& items, size_t count) {
  if (items.size() <= count) return items;
  std::vector<T> chosen;
  for (size_t i = 0; i < count; ++i) chosen.push_back(items[i * items.size() / count]);
  return chosen;
}

// Their streams beside customers' steps of `batch` rows, one a kind: on the plain base, by their
// weights. None when the set is not active.
std::vector<TrainingStream> GuardStreams(const GuardSet& set, const DecoderModel& base,
                                         int64_t batch);

// SHA-256 over tokens, masks, kinds and per_guarded_rows; empty when the set is not active.
std::string GuardDigest(const GuardSet& set);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_SECURITY_GUARD_ROWS_H_
