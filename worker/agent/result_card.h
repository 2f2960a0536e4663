// The model card of what a job delivers, an adapter or a whole model.
// Thread safety: a pure function.
#ifndef WARDTUNE_WORKER_AGENT_RESULT_CARD_H_
#define WARDTUNE_WORKER_AGENT_RESULT_CARD_H_

#include <optional>
#include <string>

#include "formats/model_card.h"
#include "wardtune/v1/fine_tuning_service.pb.h"
#include "wardtune/v1/safety.pb.h"
#include "worker/safety/safety_scorer.h"

namespace wardtune {

// What the card of a job's result tells.
struct ResultFacts {
  std::string base_model;  // `baseModels/{model}`
  v1::Hyperparameters hyperparameters;
  v1::ProtectionProof proof;
  std::string dataset_sha256;
  v1::Progress progress;  // of the last step
  SafetyResult before;
  std::optional<SafetyResult> start;  // of base + start adapter, where there is one
  SafetyResult after;
};

// Holds nothing that differs between two runs of the same job: the bytes must be the same.
ModelCard ResultCard(const ResultFacts& facts);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_AGENT_RESULT_CARD_H_
