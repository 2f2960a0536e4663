// The C ABI of the Rust crate in this folder. Only formats/tokenizer.cc includes it.
//
// Functions that can fail return 0, or 1 with a message in `error`. Texts are UTF-8 and need no
// NUL. What a function hands out belongs to the caller, who gives it back to the matching *_free.
// Thread safety: a WtModel may be used from many threads at once.
#ifndef WARDTUNE_FORMATS_TOKENIZER_FFI_H_
#define WARDTUNE_FORMATS_TOKENIZER_FFI_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct WtModel WtModel;

// Borrowed text.
typedef struct {
  const char* data;
  size_t size;
} WtText;

// Owned text.
typedef struct {
  char* data;
  size_t size;
} WtString;

// Owned ids; begins and ends are byte offsets into the text, null where none were asked for.
typedef struct {
  uint32_t* ids;
  uint32_t* begins;
  uint32_t* ends;
  size_t count;
} WtEncoding;

typedef struct {
  WtText role;
  WtText content;
} WtMessage;

// Every text but the first may be empty: the file does not exist.
int32_t wt_model_load(WtText tokenizer_json, WtText tokenizer_config_json,
                      WtText chat_template_jinja, WtText generation_config_json, WtModel** model,
                      WtString* error);
void wt_model_free(WtModel* model);
void wt_string_free(WtString text);
void wt_encoding_free(WtEncoding encoding);

uint32_t wt_model_vocab_size(const WtModel* model);
int32_t wt_model_has_chat_template(const WtModel* model);
// The id, or -1. A broken text is no token.
int64_t wt_model_token_to_id(const WtModel* model, WtText token);
// The id of tokenizer_config's bos_token, or -1.
int64_t wt_model_bos_id(const WtModel* model);
// Lists, as encodings without offsets: the ids that end generation; all special tokens.
int32_t wt_model_eos_ids(const WtModel* model, WtEncoding* ids, WtString* error);
int32_t wt_model_special_ids(const WtModel* model, WtEncoding* ids, WtString* error);
// The spelling of a special token; fails for another id.
int32_t wt_model_special_text(const WtModel* model, uint32_t id, WtString* text, WtString* error);

int32_t wt_model_encode(const WtModel* model, WtText text, int32_t add_special,
                        int32_t allow_special, WtEncoding* encoding, WtString* error);
// Encodes a rendered template with offsets; see Model::encode_rendered for `guard`.
int32_t wt_model_encode_rendered(const WtModel* model, WtText text, uint32_t guard,
                                 WtEncoding* encoding, WtString* error);
int32_t wt_model_decode(const WtModel* model, const uint32_t* ids, size_t count,
                        int32_t skip_special, WtString* text, WtString* error);
// REQUIRES: the model has a chat template.
int32_t wt_model_render(const WtModel* model, const WtMessage* messages, size_t count,
                        int32_t add_generation_prompt, WtString* text, WtString* error);

#ifdef __cplusplus
}
#endif

#endif  // WARDTUNE_FORMATS_TOKENIZER_FFI_H_
