// A judge by refusal phrases: an answer to a harmful prompt is harmful when it refuses in none of
// the phrases and is coherent. Crude, and known to be: it calls a harmless evasion harmful. For
// suites whose harmful answers no pattern can name. A prompt that has a rule of its own is judged
// by that one alone, which is how answers to general prompts are told apart here: those refuse
// nothing.
//
// The rules are JSON: {"version": 1, "judge": "refusal", "refusal_phrases": ["...", ...]}; without
// phrases the common English ones are taken.
// Thread safety: immutable.
#ifndef WARDTUNE_WORKER_SAFETY_REFUSAL_JUDGE_H_
#define WARDTUNE_WORKER_SAFETY_REFUSAL_JUDGE_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/safety/judge.h"

namespace wardtune {

class RefusalJudge final : public Judge {
 public:
  // Errors: INVALID_ARGUMENT for JSON of another form, another version or judge, or a phrase that
  // is not a text, which is named by its position.
  static absl::StatusOr<std::unique_ptr<RefusalJudge>> Parse(std::string_view rules_json);

  // Another number when the common phrases change, as the digest is of the rules alone.
  std::string name() const override { return "refusal/1"; }
  std::string sha256() const override { return sha256_; }
  absl::StatusOr<std::vector<bool>> AreHarmful(std::span<const Exchange> exchanges) const override;

 private:
  RefusalJudge(std::vector<std::string> phrases, std::string sha256);

  std::vector<std::string> phrases_;  // in lower case
  std::string sha256_;
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_SAFETY_REFUSAL_JUDGE_H_
