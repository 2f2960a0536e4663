// What the trainer reads: encoded rows, grouped into streams that feed every optimizer step.
// Thread safety: plain data.
#ifndef WARDTUNE_WORKER_TRAINING_TRAINING_ROW_H_
#define WARDTUNE_WORKER_TRAINING_TRAINING_ROW_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "worker/model/decoder.h"

namespace wardtune {

struct TrainingRow {
  std::vector<int32_t> ids;
  // Same length as ids. loss_mask[i] != 0: token i is a target, predicted from the tokens before
  // it. The first token is never a target, whatever its mask says.
  std::vector<uint8_t> loss_mask;
};

enum class Objective {
  kCrossEntropy,  // -log p(target)
  kKlToBase,      // KL(p_base || p_base+adapter) at the same positions, base = the stream's model
  kStateToBase,   // mean squared distance of the normed last hidden states at those positions
};

// A source of rows. Stream 0 of a trainer is the data set itself: its passes are the epochs.
// Further streams (general rows of a security vector, guard rows) are walked round and round beside
// it.
//
// The loss of a step is the sum over streams of weight * (mean over the stream's supervised tokens
// in that step), so it does not depend on how a step is cut into micro-batches.
struct TrainingStream {
  std::string name;  // for errors and metrics, for example "customer"
  std::vector<TrainingRow> rows;
  // The weights that these rows run on, for example the base with the security vector folded in for
  // the customer's rows. All streams' models have one shape.
  DecoderModel model;
  // An adapter that acts on these rows beside the trained one and gets no gradient: the security
  // vector where guard rows run on the same weights without it. Folding it in costs nothing a
  // token, but weights of its own keep the rows from sharing products with the guard rows'. May be
  // null.
  std::shared_ptr<const LoraAdapter> frozen;
  Objective objective = Objective::kCrossEntropy;
  // kKlToBase: nats a token that cost nothing.
  double kl_slack = 0.0;
  int64_t rows_per_step = 8;
  double weight = 1.0;
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_TRAINING_TRAINING_ROW_H_
