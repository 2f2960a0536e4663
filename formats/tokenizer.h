// Tokenizer and chat template of a Hugging Face model folder, exact by construction: the
// `tokenizers` and `minijinja` crates behind the C ABI of formats/tokenizer_ffi.
//
// Control tokens come from the model's template alone. Text of a customer that spells one, as
// "<|im_end|>", is encoded as ordinary text. Only tokens marked special in tokenizer.json count as
// control tokens; other added tokens (as Qwen's <think>) are vocabulary.
// Thread safety: immutable after Load; all methods may be called from any thread.
#ifndef WARDTUNE_FORMATS_TOKENIZER_H_
#define WARDTUNE_FORMATS_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "base/file_system.h"
#include "formats/chat_row.h"

namespace wardtune {

struct EncodeOptions {
  // Applies the tokenizer's post-processor (as a leading BOS). Templates write it themselves.
  bool add_special = false;
  // Reads control tokens out of the text. Only for text that no customer wrote.
  bool allow_special = false;
};

struct EncodedChat {
  std::vector<int32_t> ids;
  // 1 where the token is to be predicted with loss: inside a supervised assistant message,
  // including the token that ends the turn. loss_mask[0] is meaningful for packing only, nothing
  // predicts the first token.
  std::vector<uint8_t> loss_mask;
  // True when the row was longer than max_tokens and its end was cut off.
  bool truncated = false;

  int64_t supervised_tokens() const;
};

class Tokenizer {
 public:
  // Reads tokenizer.json, tokenizer_config.json (chat_template, bos_token, eos_token), and where
  // present chat_template.jinja (it wins) and generation_config.json (eos_token_id).
  // Errors: NOT_FOUND for a missing tokenizer.json, INVALID_ARGUMENT for a file that does not
  // parse.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(FileSystem& files,
                                                         const std::string& folder);
  ~Tokenizer();

  // Errors: INVALID_ARGUMENT for text that is not UTF-8.
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                              EncodeOptions options = {}) const;
  // Errors: INVALID_ARGUMENT for an id outside the vocabulary.
  absl::StatusOr<std::string> Decode(const std::vector<int32_t>& ids,
                                     bool skip_special = true) const;

  // Ids are below this; the model's embedding may have more rows.
  int64_t VocabSize() const;
  // Ids that end generation: generation_config's and the tokenizer's, sorted, without repeats.
  const std::vector<int32_t>& EosIds() const;
  // The id of a token's exact spelling, or -1.
  int32_t TokenToId(std::string_view token) const;
  bool has_chat_template() const;

  // The template's text for a conversation. For display: encode with EncodeChat or EncodePrompt,
  // which keep customers' text apart from control tokens.
  // Errors: FAILED_PRECONDITION when the model has no chat template; INVALID_ARGUMENT when the
  // template refuses the messages, with its reason.
  absl::StatusOr<std::string> RenderChat(const std::vector<Message>& messages,
                                         bool add_generation_prompt) const;

  // What the model is to continue: the conversation with the assistant's opening behind it.
  // Errors: as RenderChat.
  absl::StatusOr<std::vector<int32_t>> EncodePrompt(const std::vector<Message>& messages) const;

  // A training example. Keeps the first `max_tokens` tokens; 0 means no limit.
  // Errors: as RenderChat; FAILED_PRECONDITION when the template rewrites assistant messages in a
  // way that leaves their place in the text unknown.
  absl::StatusOr<EncodedChat> EncodeChat(const ChatRow& row, int64_t max_tokens) const;

 private:
  class Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace wardtune

#endif  // WARDTUNE_FORMATS_TOKENIZER_H_
