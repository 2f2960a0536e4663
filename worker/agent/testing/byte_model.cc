#include "worker/agent/testing/byte_model.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "base/file_system.h"
#include "base/status_matchers.h"
#include "formats/testing/byte_tokenizer.h"
#include "worker/model/testing/tiny_model.h"

namespace wardtune::testing {
namespace {

constexpr const char* kConfig = R"({
  "architectures": ["LlamaForCausalLM"], "vocab_size": 258, "hidden_size": 32,
  "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
  "num_key_value_heads": 2, "max_position_embeddings": 256, "rms_norm_eps": 1e-5,
  "eos_token_id": 257})";

}  // namespace

void WriteByteModel(const std::string& models_dir) {
  PosixFileSystem files;
  WT_ASSERT_OK(files.CreateFolders(models_dir));
  const std::string folder = absl::StrCat(models_dir, "/tiny");
  WT_ASSERT_OK(files.Rename(WriteTinyModel("byte_model", kConfig), folder));
  WriteByteTokenizer(folder);
}

}  // namespace wardtune::testing
