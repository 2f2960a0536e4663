#include "worker/agent/safety_messages.h"

#include <algorithm>
#include <cstddef>

namespace wardtune {
namespace {

// More would let a report of 64 parts grow without need.
constexpr size_t kNamedCategories = 32;

}  // namespace

v1::CategoryScore ToMessage(const CategoryResult& result) {
  v1::CategoryScore message;
  message.set_category(result.category);
  message.set_prompts(static_cast<int32_t>(result.prompts));
  message.set_harmful(static_cast<int32_t>(result.harmful));
  message.set_rate(result.rate);
  message.set_wilson_low(result.wilson_low);
  message.set_wilson_high(result.wilson_high);
  return message;
}

v1::SafetyReport ToMessage(const SafetyResult& result) {
  v1::SafetyReport message;
  for (const CategoryResult& category : result.categories) {
    *message.add_categories() = ToMessage(category);
  }
  message.set_suite_sha256(result.suite_sha256);
  message.set_judge(result.judge);
  message.set_judge_sha256(result.judge_sha256);
  message.set_sampling_sha256(result.sampling_sha256);
  return message;
}

v1::SecurityVectorPart ToMessage(const VectorPart& part) {
  v1::SecurityVectorPart message;
  const auto named =
      static_cast<std::ptrdiff_t>(std::min(part.categories.size(), kNamedCategories));
  message.mutable_categories()->Assign(part.categories.begin(), part.categories.begin() + named);
  message.set_more_categories(static_cast<int32_t>(part.categories.size()) -
                              static_cast<int32_t>(named));
  return message;
}

}  // namespace wardtune
