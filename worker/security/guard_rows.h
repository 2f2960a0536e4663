// Guard rows: the provider's own rows that train beside the customer's, with the security vector
// off. They hold the state that is delivered where the vector cannot: on harm in wordings that it
// has never seen (docs/research.md).
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

// Weight of the guard rows' mean loss beside the customer's; more of it costs task accuracy
// (docs/research.md).
inline constexpr double kGuardWeight = 1.25;

struct GuardSet {
  std::vector<TrainingRow> rows;
  // Guard rows beside every kGuardedRows of a customer's rows; 0: none are trained.
  int64_t per_guarded_rows = 0;

  bool active() const { return !rows.empty() && per_guarded_rows > 0; }
  // Guard rows in a step of `batch` customer's rows, rounded up. REQUIRES: active().
  int64_t PerStep(int64_t batch) const {
    return (batch * per_guarded_rows + kGuardedRows - 1) / kGuardedRows;
  }
};

// Their stream beside customers' steps of `batch` rows: on the plain base, by their weight.
// REQUIRES: set.active().
TrainingStream GuardStream(const GuardSet& set, const DecoderModel& base, int64_t batch);

// SHA-256 over tokens, masks and per_guarded_rows; empty when the set is not active.
std::string GuardDigest(const GuardSet& set);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_SECURITY_GUARD_ROWS_H_
