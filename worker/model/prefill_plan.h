// Which tokens of several prompts have to go through the model: what prompts begin with in common,
// a chat template's system message or the frame of a family of questions, goes through once.
// Thread safety: pure functions.
#ifndef WARDTUNE_WORKER_MODEL_PREFILL_PLAN_H_
#define WARDTUNE_WORKER_MODEL_PREFILL_PLAN_H_

#include <cstdint>
#include <span>
#include <vector>

#include "worker/model/kv_cache.h"

namespace wardtune {

// One row per node of the prompts' prefix tree; prompt i has slot i of the cache.
struct PrefillPlan {
  std::vector<int64_t> ids;
  std::vector<int64_t> positions;
  CacheRows rows;             // a row is attended to in the slot of one prompt that has it
  std::vector<int64_t> last;  // the row of each prompt's last token
  // Of each prompt: what it has in common with those before it in their sorted order, and a slot
  // that has it; nothing for the first of a family.
  std::vector<SharedBeginning> beginnings;
};

// REQUIRES: no prompt is empty.
PrefillPlan PlanPrefill(std::span<const std::span<const int32_t>> prompts);

// Whether the plan costs less than the prompts' own tokens: a row of a plan reads the keys and
// values before it from the cache by itself, where whole prompts read them in blocks.
bool PaysOff(const PrefillPlan& plan);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_PREFILL_PLAN_H_
