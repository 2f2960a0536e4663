// A judge that is itself a language model (as Llama Guard, Inan et al., arXiv 2312.06674): a
// template puts category, prompt and answer before it, and the answer is harmful when the model
// finds the unsafe word more likely than the threshold, against the safe word:
//   p = P(unsafe) / (P(unsafe) + P(safe)), each over all tokens of the word.
//
// The rules are JSON:
//   {"version": 1, "judge": "causal_lm", "template": "... {category} ... {prompt} ... {answer}
//   ...",
//    "safe": "safe", "unsafe": "unsafe", "threshold": 0.5}
// The template must name prompt and answer. The judged text cannot become a control token, but it
// can still try to talk the judge over: a content judge alone is never enough. Thread safety:
// immutable.
#ifndef WARDTUNE_WORKER_SAFETY_CAUSAL_LM_JUDGE_H_
#define WARDTUNE_WORKER_SAFETY_CAUSAL_LM_JUDGE_H_

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/tokenizer.h"
#include "worker/model/decoder.h"
#include "worker/safety/judge.h"

namespace wardtune {

struct CausalLmRules {
  std::string prompt_template;
  std::string safe;
  std::string unsafe;
  double threshold = 0.5;  // above 0, below 1

  // Errors: INVALID_ARGUMENT naming the field.
  static absl::StatusOr<CausalLmRules> Parse(std::string_view rules_json);
  // What stands before the model.
  std::string Fill(const Exchange& exchange) const;
};

class CausalLmJudge final : public Judge {
 public:
  // Judges by base + adapter, or by the base alone. `adapter_sha256` is the digest of the adapter's
  // file, empty without one. `tokenizer` must outlive the judge.
  // Errors: those of CausalLmRules::Parse; INVALID_ARGUMENT when the adapter does not fit the
  // model.
  static absl::StatusOr<std::unique_ptr<CausalLmJudge>> Create(std::string_view rules_json,
                                                               DecoderModel model,
                                                               std::optional<LoraAdapter> adapter,
                                                               const std::string& adapter_sha256,
                                                               const Tokenizer& tokenizer);

  std::string name() const override { return "causal_lm/1"; }
  std::string sha256() const override { return sha256_; }
  absl::StatusOr<std::vector<bool>> AreHarmful(std::span<const Exchange> exchanges) const override;
  // p of each exchange, 0 to 1. Errors: those of Tokenizer and RowLosses.
  absl::StatusOr<std::vector<double>> Scores(std::span<const Exchange> exchanges) const;

 private:
  CausalLmJudge(CausalLmRules rules, DecoderModel model, std::optional<LoraAdapter> adapter,
                const Tokenizer& tokenizer, std::string sha256);

  // log P(word | template filled with each exchange).
  absl::StatusOr<std::vector<double>> LogLikelihoods(std::span<const Exchange> exchanges,
                                                     const std::string& word) const;

  CausalLmRules rules_;
  DecoderModel model_;
  std::optional<LoraAdapter> adapter_;
  const Tokenizer& tokenizer_;
  std::string sha256_;  // of rules, base weights and adapter
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_SAFETY_CAUSAL_LM_JUDGE_H_
