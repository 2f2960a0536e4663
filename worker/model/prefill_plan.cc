#include "worker/model/prefill_plan.h"

#include <algorithm>
#include <numeric>

namespace wardtune {
namespace {

using Prompt = std::span<const int32_t>;

// So many tokens read from the cache cost a row as much as its matrix products (135M parameters,
// two cores: 8 microseconds a layer, at 50 GB/s).
constexpr int64_t kTokensLikeARow = 512;

// Prompts that begin alike side by side.
std::vector<size_t> InOrder(std::span<const Prompt> prompts) {
  std::vector<size_t> order(prompts.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::lexicographical_compare(prompts[a].begin(), prompts[a].end(), prompts[b].begin(),
                                        prompts[b].end());
  });
  return order;
}

}  // namespace

PrefillPlan PlanPrefill(std::span<const Prompt> prompts) {
  PrefillPlan plan;
  plan.last.resize(prompts.size());
  plan.beginnings.resize(prompts.size());
  Prompt before;
  std::vector<int64_t> path;  // the rows of the prompt before, by position
  for (const size_t number : InOrder(prompts)) {
    const Prompt prompt = prompts[number];
    const auto slot = static_cast<int64_t>(number);
    const auto end = std::mismatch(before.begin(), before.end(), prompt.begin(), prompt.end());
    path.resize(static_cast<size_t>(end.first - before.begin()));
    if (!path.empty()) {
      plan.beginnings[number] = {plan.rows.slots[path.back()], static_cast<int64_t>(path.size())};
    }
    while (path.size() < prompt.size()) {
      const auto position = static_cast<int64_t>(path.size());
      path.push_back(static_cast<int64_t>(plan.ids.size()));
      plan.ids.push_back(prompt[path.size() - 1]);
      plan.positions.push_back(position);
      plan.rows.slots.push_back(slot);
      plan.rows.lengths.push_back(position + 1);
    }
    for (size_t i = 0; i < path.size(); ++i) {
      plan.rows.places.push_back({path[i], slot, static_cast<int64_t>(i)});
    }
    plan.last[number] = path.back();
    before = prompt;
  }
  return plan;
}

bool PaysOff(const PrefillPlan& plan) {
  const auto whole = static_cast<int64_t>(plan.rows.places.size());
  const auto rows = static_cast<int64_t>(plan.ids.size());
  const int64_t read =
      std::accumulate(plan.rows.lengths.begin(), plan.rows.lengths.end(), int64_t{0});
  return rows + read / kTokensLikeARow < whole;
}

}  // namespace wardtune
