// The files of a tokenizer whose tokens are bytes, for model folders of tests: ids 0 to 255 are the
// bytes, 256 is `<|im_start|>`, 257 is `<|im_end|>`; the chat template is ChatML.
// Thread safety: re-entrant.
#ifndef WARDTUNE_FORMATS_TESTING_BYTE_TOKENIZER_H_
#define WARDTUNE_FORMATS_TESTING_BYTE_TOKENIZER_H_

#include <string>

namespace wardtune::testing {

inline constexpr int kByteVocabulary = 258;

// Writes tokenizer.json and tokenizer_config.json into `folder`; fails the test when it cannot.
void WriteByteTokenizer(const std::string& folder);

}  // namespace wardtune::testing

#endif  // WARDTUNE_FORMATS_TESTING_BYTE_TOKENIZER_H_
