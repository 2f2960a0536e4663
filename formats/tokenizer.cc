#include "formats/tokenizer.h"

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "formats/chat_encoding.h"
#include "formats/tokenizer_ffi/include/tokenizer_ffi.h"

namespace wardtune {
namespace {

struct ModelDeleter {
  void operator()(WtModel* model) const { wt_model_free(model); }
};
using ModelHandle = std::unique_ptr<WtModel, ModelDeleter>;

WtText AsText(std::string_view text) { return {text.data(), text.size()}; }

std::string TakeString(WtString text) {
  const absl::Cleanup free_text = [text] { wt_string_free(text); };
  return std::string(text.data, text.size);
}

std::vector<int32_t> ToIds(const WtEncoding& encoding) {
  return {encoding.ids, encoding.ids + encoding.count};
}

absl::StatusOr<std::vector<int32_t>> TakeIds(int32_t failed, const WtEncoding& encoding,
                                             const WtString& error) {
  if (failed != 0) return absl::InvalidArgumentError(TakeString(error));
  const absl::Cleanup free_encoding = [&encoding] { wt_encoding_free(encoding); };
  return ToIds(encoding);
}

absl::StatusOr<std::string> TakeText(int32_t failed, const WtString& text, const WtString& error) {
  if (failed != 0) return absl::InvalidArgumentError(TakeString(error));
  return TakeString(text);
}

// A file that may be missing: empty then.
absl::StatusOr<std::string> ReadOptional(FileSystem& files, const std::string& path) {
  auto text = files.ReadFile(path);
  if (absl::IsNotFound(text.status())) return std::string();
  return text;
}

}  // namespace

class Tokenizer::Impl {
 public:
  static absl::StatusOr<std::unique_ptr<Impl>> Load(FileSystem& files, const std::string& folder) {
    WT_ASSIGN_OR_RETURN(const std::string tokenizer, files.ReadFile(folder + "/tokenizer.json"));
    WT_ASSIGN_OR_RETURN(const std::string config,
                        ReadOptional(files, folder + "/tokenizer_config.json"));
    WT_ASSIGN_OR_RETURN(const std::string jinja,
                        ReadOptional(files, folder + "/chat_template.jinja"));
    WT_ASSIGN_OR_RETURN(const std::string generation,
                        ReadOptional(files, folder + "/generation_config.json"));
    auto impl = std::make_unique<Impl>();
    WtModel* model = nullptr;
    WtString error{};
    if (wt_model_load(AsText(tokenizer), AsText(config), AsText(jinja), AsText(generation), &model,
                      &error) != 0) {
      return absl::InvalidArgumentError(absl::StrCat(folder, ": ", TakeString(error)));
    }
    impl->model_.reset(model);
    WT_RETURN_IF_ERROR(impl->LearnTokens());
    if (wt_model_has_chat_template(model) != 0) impl->LearnTemplate();
    return impl;
  }

  absl::StatusOr<std::string> Render(const std::vector<Message>& messages,
                                     bool add_generation_prompt) const {
    if (wt_model_has_chat_template(model()) == 0) {
      return absl::FailedPreconditionError(
          "the model has no chat template; add one to its tokenizer_config.json");
    }
    std::vector<WtMessage> texts;
    texts.reserve(messages.size());
    for (const Message& message : messages) {
      texts.push_back({AsText(RoleName(message.role)), AsText(message.content)});
    }
    WtString text{};
    WtString error{};
    const int32_t failed = wt_model_render(model(), texts.data(), texts.size(),
                                           add_generation_prompt ? 1 : 0, &text, &error);
    return TakeText(failed, text, error);
  }

  // Encodes rendered text; `use` gets the encoding with offsets.
  template <typename Use>
  absl::Status EncodeRendered(std::string_view text, char32_t guard, Use use) const {
    WtEncoding encoding{};
    WtString error{};
    if (wt_model_encode_rendered(model(), AsText(text), guard, &encoding, &error) != 0) {
      return absl::InvalidArgumentError(TakeString(error));
    }
    const absl::Cleanup free_encoding = [&encoding] { wt_encoding_free(encoding); };
    use(encoding);
    return absl::OkStatus();
  }

  WtModel* model() const { return model_.get(); }
  const std::vector<int32_t>& eos_ids() const { return eos_ids_; }
  const TemplateFacts& facts() const { return facts_; }

 private:
  absl::Status LearnTokens() {
    WtEncoding list{};
    WtString error{};
    int32_t failed = wt_model_eos_ids(model(), &list, &error);
    WT_ASSIGN_OR_RETURN(eos_ids_, TakeIds(failed, list, error));
    failed = wt_model_special_ids(model(), &list, &error);
    WT_ASSIGN_OR_RETURN(const std::vector<int32_t> special_ids, TakeIds(failed, list, error));
    const int64_t bos = wt_model_bos_id(model());
    for (const int32_t id : special_ids) {
      WtString text{};
      failed = wt_model_special_text(model(), static_cast<uint32_t>(id), &text, &error);
      WT_ASSIGN_OR_RETURN(std::string spelling, TakeText(failed, text, error));
      if (spelling.size() < 2) {
        return absl::InvalidArgumentError(
            "a special token of one character cannot be told from text; mark it as not special");
      }
      const bool ends = std::find(eos_ids_.begin(), eos_ids_.end(), id) != eos_ids_.end();
      if (id == bos && !ends) facts_.bos = spelling;
      facts_.control_tokens.push_back(std::move(spelling));
    }
    return absl::OkStatus();
  }

  // Learns the generation prompt from a conversation of one word. A template that refuses it has
  // none that we could use.
  void LearnTemplate() {
    facts_.render = [this](const std::vector<Message>& messages) {
      return Render(messages, /*add_generation_prompt=*/false);
    };
    const std::vector<Message> probe = {{Role::kUser, "x", false}};
    const auto without = Render(probe, false);
    const auto with = Render(probe, true);
    if (without.ok() && with.ok() && with->starts_with(*without)) {
      facts_.generation_prompt = with->substr(without->size());
    }
  }

  ModelHandle model_;
  std::vector<int32_t> eos_ids_;
  TemplateFacts facts_;
};

int64_t EncodedChat::supervised_tokens() const {
  return std::count(loss_mask.begin(), loss_mask.end(), uint8_t{1});
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(FileSystem& files,
                                                           const std::string& folder) {
  WT_ASSIGN_OR_RETURN(auto impl, Impl::Load(files, folder));
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::move(impl)));
}

absl::StatusOr<std::vector<int32_t>> Tokenizer::Encode(std::string_view text,
                                                       EncodeOptions options) const {
  WtEncoding encoding{};
  WtString error{};
  const int32_t failed = wt_model_encode(impl_->model(), AsText(text), options.add_special ? 1 : 0,
                                         options.allow_special ? 1 : 0, &encoding, &error);
  return TakeIds(failed, encoding, error);
}

absl::StatusOr<std::string> Tokenizer::Decode(const std::vector<int32_t>& ids,
                                              bool skip_special) const {
  // A negative id becomes one far outside the vocabulary, which the library refuses.
  const std::vector<uint32_t> unsigned_ids(ids.begin(), ids.end());
  WtString text{};
  WtString error{};
  const int32_t failed = wt_model_decode(impl_->model(), unsigned_ids.data(), unsigned_ids.size(),
                                         skip_special ? 1 : 0, &text, &error);
  return TakeText(failed, text, error);
}

int64_t Tokenizer::VocabSize() const { return wt_model_vocab_size(impl_->model()); }

const std::vector<int32_t>& Tokenizer::EosIds() const { return impl_->eos_ids(); }

int32_t Tokenizer::TokenToId(std::string_view token) const {
  return static_cast<int32_t>(wt_model_token_to_id(impl_->model(), AsText(token)));
}

bool Tokenizer::has_chat_template() const {
  return wt_model_has_chat_template(impl_->model()) != 0;
}

absl::StatusOr<std::string> Tokenizer::RenderChat(const std::vector<Message>& messages,
                                                  bool add_generation_prompt) const {
  return impl_->Render(messages, add_generation_prompt);
}

absl::StatusOr<std::vector<int32_t>> Tokenizer::EncodePrompt(
    const std::vector<Message>& messages) const {
  WT_ASSIGN_OR_RETURN(const ReservedCharacters reserved, PickReserved(messages));
  std::vector<Message> guarded = messages;
  for (Message& message : guarded) {
    message.content =
        GuardText(message.content, impl_->facts().control_tokens, Utf8Of(reserved.guard));
  }
  WT_ASSIGN_OR_RETURN(const std::string text, impl_->Render(guarded, true));
  std::vector<int32_t> ids;
  WT_RETURN_IF_ERROR(impl_->EncodeRendered(
      text, reserved.guard, [&ids](const WtEncoding& encoding) { ids = ToIds(encoding); }));
  return ids;
}

absl::StatusOr<EncodedChat> Tokenizer::EncodeChat(const ChatRow& row, int64_t max_tokens) const {
  if (!has_chat_template()) return impl_->Render(row.messages, false).status();
  WT_ASSIGN_OR_RETURN(const RenderedChat chat, RenderAnswers(row.messages, impl_->facts()));
  EncodedChat result;
  WT_RETURN_IF_ERROR(impl_->EncodeRendered(chat.text, chat.guard, [&](const WtEncoding& encoding) {
    result.ids = ToIds(encoding);
    result.loss_mask.assign(encoding.count, 0);
    // A token that straddles the border of an answer is partly prompt, and not supervised.
    auto answer = chat.answers.begin();
    for (size_t i = 0; i < encoding.count; ++i) {
      while (answer != chat.answers.end() && answer->end <= encoding.begins[i]) ++answer;
      if (answer == chat.answers.end()) break;
      result.loss_mask[i] = encoding.begins[i] >= answer->begin && encoding.ends[i] <= answer->end;
    }
  }));
  if (max_tokens > 0 && static_cast<int64_t>(result.ids.size()) > max_tokens) {
    result.ids.resize(static_cast<size_t>(max_tokens));
    result.loss_mask.resize(static_cast<size_t>(max_tokens));
    result.truncated = true;
  }
  return result;
}

}  // namespace wardtune
