#include "worker/agent/testing/byte_model.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/file_system.h"
#include "base/status_matchers.h"
#include "worker/model/testing/tiny_model.h"

namespace wardtune::testing {
namespace {

constexpr const char* kConfig = R"({
  "architectures": ["LlamaForCausalLM"], "vocab_size": 258, "hidden_size": 32,
  "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
  "num_key_value_heads": 2, "max_position_embeddings": 256, "rms_norm_eps": 1e-5,
  "eos_token_id": 257})";

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

void WriteByteModel(const std::string& models_dir) {
  PosixFileSystem files;
  WT_ASSERT_OK(files.CreateFolders(models_dir));
  const std::string folder = absl::StrCat(models_dir, "/tiny");
  WT_ASSERT_OK(files.Rename(WriteTinyModel("byte_model", kConfig), folder));
  WT_ASSERT_OK(files.WriteFileAtomically(folder + "/tokenizer.json", TokenizerJson()));
  WT_ASSERT_OK(files.WriteFileAtomically(folder + "/tokenizer_config.json", kTokenizerConfig));
}

}  // namespace wardtune::testing
