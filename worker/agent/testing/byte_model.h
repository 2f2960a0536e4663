// A model folder for tests: a tiny random Llama and a tokenizer whose tokens are bytes.
// Thread safety: re-entrant.
#ifndef WARDTUNE_WORKER_AGENT_TESTING_BYTE_MODEL_H_
#define WARDTUNE_WORKER_AGENT_TESTING_BYTE_MODEL_H_

#include <string>

namespace wardtune::testing {

// Writes the folder `models_dir`/tiny, whose resource name is `baseModels/tiny`; fails the test
// when it cannot.
void WriteByteModel(const std::string& models_dir);

}  // namespace wardtune::testing

#endif  // WARDTUNE_WORKER_AGENT_TESTING_BYTE_MODEL_H_
