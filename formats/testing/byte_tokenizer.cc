#include "formats/testing/byte_tokenizer.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/file_system.h"
#include "base/status_matchers.h"

namespace wardtune::testing {
namespace {

// ChatML, as SmolLM2 and Qwen use it.
constexpr const char* kTokenizerConfig = R"({
  "bos_token": "<|im_start|>", "eos_token": "<|im_end|>",
  "chat_template": "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"})";

// The code points by which byte-level tokenizers spell the 256 bytes (GPT-2).
std::vector<int> ByteSpellings() {
  std::vector<int> spellings;
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable =
        (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    spellings.push_back(printable ? byte : next++);
  }
  return spellings;
}

std::string AddedToken(int id, const char* content) {
  return absl::StrFormat(
      R"({"id": %d, "content": "%s", "single_word": false, "lstrip": false, "rstrip": false,)"
      R"( "normalized": false, "special": true})",
      id, content);
}

std::string TokenizerJson() {
  std::vector<std::string> vocabulary;
  for (const int spelling : ByteSpellings()) {
    vocabulary.push_back(absl::StrFormat("\"\\u%04x\": %d", spelling, vocabulary.size()));
  }
  const char* byte_level =
      R"({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true})";
  return absl::StrCat(
      R"({"version": "1.0", "truncation": null, "padding": null, "normalizer": null,)",
      "\"added_tokens\": [", AddedToken(256, "<|im_start|>"), ", ", AddedToken(257, "<|im_end|>"),
      "], \"pre_tokenizer\": ", byte_level, ", \"post_processor\": null, \"decoder\": ", byte_level,
      R"(, "model": {"type": "BPE", "dropout": null, "unk_token": null,)",
      R"("continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,)",
      R"("byte_fallback": false, "merges": [], "vocab": {)", absl::StrJoin(vocabulary, ", "),
      "}}}");
}

}  // namespace

void WriteByteTokenizer(const std::string& folder) {
  PosixFileSystem files;
  WT_ASSERT_OK(files.WriteFileAtomically(folder + "/tokenizer.json", TokenizerJson()));
  WT_ASSERT_OK(files.WriteFileAtomically(folder + "/tokenizer_config.json", kTokenizerConfig));
}

}  // namespace wardtune::testing
