// Shows that a security vector takes part in training: canary prompts must give the logits that
// were recorded when the vector was made, and clearly not those of the plain base model.
//
// Both halves are needed. A vector that was altered misses the recorded logits; one that was zeroed
// together with its record, or was never folded in, gives the base model's.
// Thread safety: plain data; an ActivationCheck belongs to one thread at a time.
#ifndef WARDTUNE_WORKER_SECURITY_ACTIVATION_CHECK_H_
#define WARDTUNE_WORKER_SECURITY_ACTIVATION_CHECK_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/model/decoder.h"

namespace wardtune {

// Logits after the last token of each canary prompt, at some of the vocabulary's entries.
struct CanarySet {
  static constexpr int kEntries = 16;

  std::vector<std::vector<int32_t>> prompts;
  // Per prompt kEntries vocabulary ids: the most likely ones with the vector and those that the
  // vector moves most; repeats are allowed.
  std::vector<std::vector<int32_t>> entries;
  // Same shape: the logits with the vector folded in.
  std::vector<std::vector<float>> logits;
  // Smallest over the prompts of max |with - without the vector| over the entries.
  double separation = 0.0;
};

// A recorded logit may differ by this much: rounding of bf16 on another CPU stays below it (one
// unit in the last place of a logit of 20 is 0.125). Weak vectors get a smaller tolerance.
inline constexpr double kCanaryTolerance = 0.5;

// The tolerance of a set: kCanaryTolerance, or an eighth of its separation where that is less.
double ToleranceOf(const CanarySet& canaries);

// Records the canaries of a new vector.
// Errors: FAILED_PRECONDITION when the vector moves some prompt's logits by less than a tenth of
// their root mean square: its activity could not be checked. INVALID_ARGUMENT for no prompt.
absl::StatusOr<CanarySet> RecordCanaries(const DecoderModel& base, const DecoderModel& folded,
                                         std::vector<std::vector<int32_t>> prompts);

// Checks weights against one vector's canaries, as often as wanted.
class ActivationCheck {
 public:
  // Computes the plain base model's logits. Keeps a copy of the canaries.
  static absl::StatusOr<ActivationCheck> Create(CanarySet canaries, const DecoderModel& base);

  // Errors: FAILED_PRECONDITION when `trained_on` answers a canary like the base model (the vector
  // is inactive); DATA_LOSS when it misses a recorded logit by more than the tolerance.
  absl::Status Check(const DecoderModel& trained_on);

  // The same where the vector is an adapter beside the weights. Its logits there differ from the
  // recorded ones by the rounding of folded bf16 weights, more than an altered vector may, so they
  // must show that it is active, and `weights` with `vector` folded in, a copy, must give the
  // recorded logits.
  absl::Status CheckBeside(const DecoderModel& weights, const LoraAdapter& vector);

  int checks() const { return checks_; }
  // Largest |logit - recorded logit| of all checks.
  double max_abs_diff() const { return max_abs_diff_; }
  double tolerance() const { return ToleranceOf(canaries_); }

 private:
  // Each takes the logits of all canaries.
  absl::Status RequireActive(const FloatMatrix& now) const;
  absl::Status RequireRecorded(const FloatMatrix& now);

  ActivationCheck(CanarySet canaries, FloatMatrix base_logits)
      : canaries_(std::move(canaries)), base_logits_(std::move(base_logits)) {}

  CanarySet canaries_;
  FloatMatrix base_logits_;
  int checks_ = 0;
  double max_abs_diff_ = 0.0;
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_SECURITY_ACTIVATION_CHECK_H_
