//! The exported functions. Nothing here decides anything: it converts, calls and catches.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Once;

use crate::model::{Encoding, Model, ModelFiles};

#[repr(C)]
#[derive(Clone, Copy)]
pub struct WtText {
    data: *const u8,
    size: usize,
}

#[repr(C)]
pub struct WtString {
    data: *mut u8,
    size: usize,
}

#[repr(C)]
pub struct WtEncoding {
    ids: *mut u32,
    begins: *mut u32,
    ends: *mut u32,
    count: usize,
}

#[repr(C)]
pub struct WtMessage {
    role: WtText,
    content: WtText,
}

impl WtText {
    /// # Safety
    /// `data` points to `size` readable bytes that live as long as `'a`, or `size` is 0.
    unsafe fn as_str<'a>(self) -> Result<&'a str, String> {
        let bytes = unsafe { slice(self.data, self.size) };
        std::str::from_utf8(bytes)
            .map_err(|error| format!("the text is not UTF-8 at byte {}", error.valid_up_to()))
    }
}

/// # Safety
/// `data` points to `count` readable elements that live as long as `'a`, or `count` is 0.
unsafe fn slice<'a, T>(data: *const T, count: usize) -> &'a [T] {
    if count == 0 {
        return &[];
    }
    unsafe { std::slice::from_raw_parts(data, count) }
}

fn leak<T>(values: Vec<T>) -> *mut T {
    Box::into_raw(values.into_boxed_slice()) as *mut T
}

/// # Safety
/// `data` came from `leak` of `count` elements and is not used again.
unsafe fn take_back<T>(data: *mut T, count: usize) {
    if !data.is_null() {
        drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(data, count)) });
    }
}

fn export_string(text: String) -> WtString {
    let bytes = text.into_bytes();
    let size = bytes.len();
    WtString { data: leak(bytes), size }
}

fn export_encoding(encoding: Encoding) -> WtEncoding {
    let count = encoding.ids.len();
    let with_offsets = encoding.begins.len() == count;
    let offsets = |values| if with_offsets { leak(values) } else { std::ptr::null_mut() };
    WtEncoding {
        ids: leak(encoding.ids),
        begins: offsets(encoding.begins),
        ends: offsets(encoding.ends),
        count,
    }
}

/// Runs `work` and stores its value or its error; a panic is an error too.
///
/// # Safety
/// `out` and `error` may be written.
unsafe fn deliver<T>(
    out: *mut T,
    error: *mut WtString,
    work: impl FnOnce() -> Result<T, String>,
) -> i32 {
    let outcome = catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err("internal error in the tokenizer library".into()));
    match outcome {
        Ok(value) => {
            unsafe { out.write(value) };
            0
        }
        Err(message) => {
            unsafe { error.write(export_string(message)) };
            1
        }
    }
}

/// A panic's message may quote the text being encoded, which must not reach a log.
fn silence_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(|_| {})));
}

/// # Safety
/// See the header; the same holds for every function below.
#[no_mangle]
pub unsafe extern "C" fn wt_model_load(
    tokenizer_json: WtText,
    tokenizer_config_json: WtText,
    chat_template_jinja: WtText,
    generation_config_json: WtText,
    model: *mut *mut Model,
    error: *mut WtString,
) -> i32 {
    silence_panics();
    unsafe {
        deliver(model, error, || {
            let files = ModelFiles {
                tokenizer_json: tokenizer_json.as_str()?,
                tokenizer_config_json: tokenizer_config_json.as_str()?,
                chat_template_jinja: chat_template_jinja.as_str()?,
                generation_config_json: generation_config_json.as_str()?,
            };
            Ok(Box::into_raw(Box::new(Model::load(&files)?)))
        })
    }
}

#[no_mangle]
pub unsafe extern "C" fn wt_model_free(model: *mut Model) {
    if !model.is_null() {
        drop(unsafe { Box::from_raw(model) });
    }
}

#[no_mangle]
pub unsafe extern "C" fn wt_string_free(text: WtString) {
    unsafe { take_back(text.data, text.size) };
}

#[no_mangle]
pub unsafe extern "C" fn wt_encoding_free(encoding: WtEncoding) {
    unsafe {
        take_back(encoding.ids, encoding.count);
        take_back(encoding.begins, encoding.count);
        take_back(encoding.ends, encoding.count);
    }
}

#[no_mangle]
pub unsafe extern "C" fn wt_model_vocab_size(model: *const Model) -> u32 {
    unsafe { &*model }.vocab_size()
}

#[no_mangle]
pub unsafe extern "C" fn wt_model_has_chat_template(model: *const Model) -> i32 {
    unsafe { &*model }.chat_template().is_some() as i32
}

#[no_mangle]
pub unsafe extern "C" fn wt_model_token_to_id(model: *const Model, token: WtText) -> i64 {
    let id = unsafe { token.as_str() }.ok().and_then(|token| unsafe { &*model }.token_to_id(token));
    id.map_or(-1, i64::from)
}

#[no_mangle]
pub unsafe extern "C" fn wt_model_bos_id(model: *const Model) -> i64 {
    unsafe { &*model }.bos_id().map_or(-1, i64::from)
}

#[no_mangle]
pub unsafe extern "C" fn wt_model_eos_ids(
    model: *const Model,
    ids: *mut WtEncoding,
    error: *mut WtString,
) -> i32 {
    unsafe {
        deliver(ids, error, || {
            let ids = (*model).eos_ids().to_vec();
            Ok(export_encoding(Encoding { ids, ..Default::default() }))
        })
    }
}

#[no_mangle]
pub unsafe extern "C" fn wt_model_special_ids(
    model: *const Model,
    ids: *mut WtEncoding,
    error: *mut WtString,
) -> i32 {
    unsafe {
        deliver(ids, error, || {
            let ids = (&*model).special_tokens().map(|(id, _)| id).collect();
            Ok(export_encoding(Encoding { ids, ..Default::default() }))
        })
    }
}

#[no_mangle]
pub unsafe extern "C" fn wt_model_special_text(
    model: *const Model,
    id: u32,
    text: *mut WtString,
    error: *mut WtString,
) -> i32 {
    unsafe {
        deliver(text, error, || {
            let found = (&*model).special_tokens().find(|(other, _)| *other == id);
            found
                .map(|(_, text)| export_string(text.to_string()))
                .ok_or_else(|| format!("id {id} is no special token"))
        })
    }
}

#[no_mangle]
pub unsafe extern "C" fn wt_model_encode(
    model: *const Model,
    text: WtText,
    add_special: i32,
    allow_special: i32,
    encoding: *mut WtEncoding,
    error: *mut WtString,
) -> i32 {
    unsafe {
        deliver(encoding, error, || {
            let text = text.as_str()?;
            (*model).encode(text, add_special != 0, allow_special != 0).map(export_encoding)
        })
    }
}

#[no_mangle]
pub unsafe extern "C" fn wt_model_encode_rendered(
    model: *const Model,
    text: WtText,
    guard: u32,
    encoding: *mut WtEncoding,
    error: *mut WtString,
) -> i32 {
    unsafe {
        deliver(encoding, error, || {
            let guard = char::from_u32(guard).ok_or("the guard is no character")?;
            (*model).encode_rendered(text.as_str()?, guard).map(export_encoding)
        })
    }
}

#[no_mangle]
pub unsafe extern "C" fn wt_model_decode(
    model: *const Model,
    ids: *const u32,
    count: usize,
    skip_special: i32,
    text: *mut WtString,
    error: *mut WtString,
) -> i32 {
    unsafe {
        deliver(text, error, || {
            (*model).decode(slice(ids, count), skip_special != 0).map(export_string)
        })
    }
}

#[no_mangle]
pub unsafe extern "C" fn wt_model_render(
    model: *const Model,
    messages: *const WtMessage,
    count: usize,
    add_generation_prompt: i32,
    text: *mut WtString,
    error: *mut WtString,
) -> i32 {
    unsafe {
        deliver(text, error, || {
            let mut pairs = Vec::with_capacity(count);
            for message in slice(messages, count) {
                pairs.push((message.role.as_str()?, message.content.as_str()?));
            }
            let template = (*model).chat_template().ok_or("the model has no chat template")?;
            template.render(&pairs, add_generation_prompt != 0).map(export_string)
        })
    }
}
