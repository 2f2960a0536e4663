//! Hugging Face tokenizers and chat templates behind the C ABI of `include/tokenizer_ffi.h`.
//!
//! Every exported function catches panics, reports errors as strings and hands out memory that one
//! of the `*_free` functions takes back. A `Model` is immutable: it may be used from many threads.
#![deny(unsafe_op_in_unsafe_fn)]

mod abi;
mod chat_template;
mod model;

pub use chat_template::ChatTemplate;
pub use model::{Encoding, Model, ModelFiles};
