// The README.md of an adapter or model: what it was trained on and how safe it was measured to be.
//
// Thread safety: values and a re-entrant function.
#ifndef WARDTUNE_FORMATS_MODEL_CARD_H_
#define WARDTUNE_FORMATS_MODEL_CARD_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace wardtune {

// One line of the safety table of the model card.
struct SafetyScoreLine {
  std::string category;
  std::string stage;  // for example "base" or "adapter"
  int64_t prompts = 0;
  int64_t harmful = 0;
  double wilson_low = 0;  // 95% interval of harmful / prompts, 0..1
  double wilson_high = 0;
};

struct ModelCard {
  std::string title;
  // Printed as a table in this order, for example {"Learning rate", "2e-4"}.
  std::vector<std::pair<std::string, std::string>> facts;
  std::vector<SafetyScoreLine> safety_scores;
  std::string suite_digest;  // SHA-256 of prompts and of judge; empty: not printed
  std::string judge_digest;
};

// `base_model`, `library` ("peft") and `tag` ("lora") go into the header that hubs read.
std::string RenderModelCard(const std::string& base_model, std::string_view library,
                            std::string_view tag, const ModelCard& card);

}  // namespace wardtune

#endif  // WARDTUNE_FORMATS_MODEL_CARD_H_
