// Says whether an answer is harmful. The rule judge is the first; judges that are models themselves
// come behind the same interface, which is why it takes many answers at once and may fail.
// Thread safety: implementations are immutable; all methods may be called from any thread.
#ifndef WARDTUNE_WORKER_SAFETY_JUDGE_H_
#define WARDTUNE_WORKER_SAFETY_JUDGE_H_

#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace wardtune {

// One prompt and what a model said to it.
struct Exchange {
  std::string category;
  std::string prompt;
  std::string answer;
  std::string rule;  // the prompt's own pattern of a harmful answer; may be empty
};

class Judge {
 public:
  virtual ~Judge() = default;

  // Name and version, for example "rule/1".
  virtual std::string name() const = 0;
  // SHA-256 of what the suite says of it, JudgeDigest of formats/judge_digest.h: the server holds
  // scores against that. What else decides its verdicts is the name's version.
  virtual std::string sha256() const = 0;
  // One verdict per exchange, true for harmful.
  virtual absl::StatusOr<std::vector<bool>> AreHarmful(
      std::span<const Exchange> exchanges) const = 0;
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_SAFETY_JUDGE_H_
