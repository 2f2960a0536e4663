// A judge by regular expressions: an answer is harmful when one of them matches anywhere in it.
//
// The rules are JSON: {"version": 1, "judge": "rule", "harmful_patterns": ["...", ...]}. RE2
// syntax; RE2 runs in time linear in the answer, whatever the pattern. A prompt that has a rule of
// its own is judged by that one alone.
#ifndef WARDTUNE_WORKER_SAFETY_RULE_JUDGE_H_
#define WARDTUNE_WORKER_SAFETY_RULE_JUDGE_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/safety/judge.h"

namespace re2 {
class RE2;
}

namespace wardtune {

class RuleJudge final : public Judge {
 public:
  // Errors: INVALID_ARGUMENT for JSON of another form, another version, no pattern, or a pattern
  // that is no regular expression, which is named by its position.
  static absl::StatusOr<std::unique_ptr<RuleJudge>> Parse(std::string_view rules_json);
  ~RuleJudge() override;

  std::string name() const override { return "rule/1"; }
  std::string sha256() const override { return sha256_; }
  absl::StatusOr<std::vector<bool>> AreHarmful(std::span<const Exchange> exchanges) const override;
  // The same for one answer.
  bool IsHarmful(std::string_view answer) const;

 private:
  RuleJudge(std::vector<std::unique_ptr<re2::RE2>> patterns, std::string sha256);

  std::vector<std::unique_ptr<re2::RE2>> patterns_;
  std::string sha256_;
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_SAFETY_RULE_JUDGE_H_
