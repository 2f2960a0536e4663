// Rotary position embeddings (Su et al., arXiv 2104.09864) with the scalings of transformers'
// modeling_rope_utils: linear, dynamic NTK, llama3, YaRN (arXiv 2309.00071).
// Thread safety: pure functions.
#ifndef WARDTUNE_WORKER_MODEL_ROPE_H_
#define WARDTUNE_WORKER_MODEL_ROPE_H_

#include <vector>

#include "worker/model/model_config.h"

namespace wardtune {

struct RopeFrequencies {
  std::vector<float> inv_freq;  // [head_dim / 2], radians per position
  double amplitude = 1.0;       // factor on cosine and sine
};

// Dynamic NTK changes nothing up to max_positions, and longer sequences are refused elsewhere, so
// it equals no scaling here.
RopeFrequencies ComputeRopeFrequencies(const ModelConfig& config);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_ROPE_H_
