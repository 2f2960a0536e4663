// Adapters with a random delta, as if they had been trained. For tests.
// Thread safety: re-entrant.
#ifndef WARDTUNE_WORKER_SECURITY_TESTING_RANDOM_VECTOR_H_
#define WARDTUNE_WORKER_SECURITY_TESTING_RANDOM_VECTOR_H_

#include <cmath>

#include "worker/model/adapter.h"

namespace wardtune::testing {

// Two layers whose shapes all differ.
inline ModelConfig TwoLayerConfig() {
  ModelConfig config;
  config.hidden_size = 24;
  config.intermediate_size = 40;
  config.num_layers = 2;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 6;
  config.vocab_size = 50;
  return config;
}

// Rank 4 on all projections; |B| entries are at most `strength`.
inline LoraAdapter RandomVector(const ModelConfig& config, uint64_t seed, float strength) {
  const LoraSpec spec = {.rank = 4, .alpha = 8.0};
  LoraAdapter adapter = *InitLora(config, spec, seed);
  const LoraAdapter noise = *InitLora(config, spec, seed + 1000);
  for (size_t l = 0; l < adapter.layers.size(); ++l) {
    for (const Projection projection : kAllProjections) {
      LoraMatrices& m = adapter.at(static_cast<int64_t>(l), projection);
      const std::vector<float>& random = noise.at(static_cast<int64_t>(l), projection).a;
      const float largest = 1.0f / std::sqrt(static_cast<float>(random.size() / spec.rank));
      for (size_t i = 0; i < m.b.size(); ++i) {
        m.b[i] = strength * random[i % random.size()] / largest;
      }
    }
  }
  return adapter;
}

}  // namespace wardtune::testing

#endif  // WARDTUNE_WORKER_SECURITY_TESTING_RANDOM_VECTOR_H_
