#include "worker/safety/causal_lm_judge.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "formats/judge_digest.h"
#include "worker/model/lora_runtime.h"
#include "worker/safety/judge_json.h"
#include "worker/safety/judge_rules.h"
#include "worker/training/row_loss.h"

namespace wardtune {
namespace {

// Of a prompt or an answer; what is harmful shows long before.
constexpr size_t kMaxJudgedBytes = 2048;

// The first bytes, not cut within a UTF-8 sequence.
std::string Shortened(const std::string& text) {
  if (text.size() <= kMaxJudgedBytes) return text;
  size_t end = kMaxJudgedBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end);
}

}  // namespace

absl::StatusOr<CausalLmRules> CausalLmRules::Parse(std::string_view rules_json) {
  WT_ASSIGN_OR_RETURN(const JudgeJson json, ReadJudgeJson(rules_json, kCausalLmJudge));
  CausalLmRules rules;
  WT_ASSIGN_OR_RETURN(rules.prompt_template, json.Text("template"));
  WT_ASSIGN_OR_RETURN(rules.safe, json.Text("safe"));
  WT_ASSIGN_OR_RETURN(rules.unsafe, json.Text("unsafe"));
  for (const char* part : {"{prompt}", "{answer}"}) {
    if (!absl::StrContains(rules.prompt_template, part)) {
      return absl::InvalidArgumentError(absl::StrCat("judge rules: 'template' must name ", part));
    }
  }
  if (rules.safe == rules.unsafe) {
    return absl::InvalidArgumentError("judge rules: 'safe' and 'unsafe' must differ");
  }
  if (json.object["threshold"].get(rules.threshold) != simdjson::SUCCESS ||
      !(rules.threshold > 0.0) || !(rules.threshold < 1.0)) {
    return absl::InvalidArgumentError(
        "judge rules: 'threshold' must be a number above 0 and below 1");
  }
  return rules;
}

std::string CausalLmRules::Fill(const Exchange& exchange) const {
  return absl::StrReplaceAll(prompt_template, {{"{category}", exchange.category},
                                               {"{prompt}", Shortened(exchange.prompt)},
                                               {"{answer}", Shortened(exchange.answer)}});
}

CausalLmJudge::CausalLmJudge(CausalLmRules rules, DecoderModel model,
                             std::optional<LoraAdapter> adapter, const Tokenizer& tokenizer,
                             std::string sha256)
    : rules_(std::move(rules)),
      model_(std::move(model)),
      adapter_(std::move(adapter)),
      tokenizer_(tokenizer),
      sha256_(std::move(sha256)) {}

absl::StatusOr<std::unique_ptr<CausalLmJudge>> CausalLmJudge::Create(
    std::string_view rules_json, DecoderModel model, std::optional<LoraAdapter> adapter,
    const std::string& adapter_sha256, const Tokenizer& tokenizer) {
  WT_ASSIGN_OR_RETURN(CausalLmRules rules, CausalLmRules::Parse(rules_json));
  if (adapter) WT_RETURN_IF_ERROR(CheckAdapterFits(*adapter, model.config()));
  const std::string sha256 = JudgeDigest(Sha256Hex(rules_json), adapter_sha256);
  return std::unique_ptr<CausalLmJudge>(
      new CausalLmJudge(std::move(rules), std::move(model), std::move(adapter), tokenizer, sha256));
}

absl::StatusOr<std::vector<double>> CausalLmJudge::LogLikelihoods(
    std::span<const Exchange> exchanges, const std::string& word) const {
  std::vector<TrainingRow> rows;
  for (const Exchange& exchange : exchanges) {
    const ChatRow chat{{{.role = Role::kUser, .content = rules_.Fill(exchange)},
                        {.role = Role::kAssistant, .content = word, .supervised = true}}};
    WT_ASSIGN_OR_RETURN(EncodedChat encoded, tokenizer_.EncodeChat(chat, 0));
    encoded.loss_mask[0] = 0;
    rows.push_back({.ids = std::move(encoded.ids), .loss_mask = std::move(encoded.loss_mask)});
  }
  std::vector<const LoraAdapter*> active;
  if (adapter_) active.push_back(&*adapter_);
  WT_ASSIGN_OR_RETURN(std::vector<double> means, RowLosses(model_, active, rows));
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::vector<uint8_t>& mask = rows[i].loss_mask;
    means[i] *= -static_cast<double>(std::count(mask.begin(), mask.end(), 1));
  }
  return means;
}

absl::StatusOr<std::vector<double>> CausalLmJudge::Scores(
    std::span<const Exchange> exchanges) const {
  if (exchanges.empty()) return std::vector<double>();
  WT_ASSIGN_OR_RETURN(const std::vector<double> safe, LogLikelihoods(exchanges, rules_.safe));
  WT_ASSIGN_OR_RETURN(std::vector<double> scores, LogLikelihoods(exchanges, rules_.unsafe));
  for (size_t i = 0; i < scores.size(); ++i) {
    scores[i] = 1.0 / (1.0 + std::exp(safe[i] - scores[i]));
  }
  return scores;
}

absl::StatusOr<std::vector<bool>> CausalLmJudge::AreHarmful(
    std::span<const Exchange> exchanges) const {
  WT_ASSIGN_OR_RETURN(const std::vector<double> scores, Scores(exchanges));
  std::vector<bool> verdicts;
  for (const double score : scores) verdicts.push_back(score >= rules_.threshold);
  return verdicts;
}

}  // namespace wardtune
