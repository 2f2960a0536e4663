//! A model's tokenizer with its special tokens kept apart from ordinary text.

use aho_corasick::{AhoCorasick, MatchKind};
use serde_json::Value as Json;
use tokenizers::{AddedToken, PostProcessor, PostProcessorWrapper, Tokenizer};

use crate::chat_template::{ChatTemplate, NamedTokens};

/// Ids and the byte range of the text that each came from.
#[derive(Default, Debug, PartialEq)]
pub struct Encoding {
    pub ids: Vec<u32>,
    pub begins: Vec<u32>,
    pub ends: Vec<u32>,
}

/// The contents of a model folder's files; all but the first may be empty for "no such file".
pub struct ModelFiles<'a> {
    pub tokenizer_json: &'a str,
    pub tokenizer_config_json: &'a str,
    pub chat_template_jinja: &'a str,
    pub generation_config_json: &'a str,
}

struct SpecialToken {
    id: u32,
    token: AddedToken,
}

pub struct Model {
    /// Finds special tokens in the text.
    marked: Tokenizer,
    /// Takes special tokens in the text for ordinary characters.
    plain: Tokenizer,
    /// Kept out of the two above: some trim the offsets.
    post_processor: Option<PostProcessorWrapper>,
    special_tokens: Vec<SpecialToken>,
    special_finder: AhoCorasick,
    eos_ids: Vec<u32>,
    bos_id: Option<u32>,
    vocab_size: u32,
    chat_template: Option<ChatTemplate>,
}

fn parse_json(name: &str, text: &str) -> Result<Json, String> {
    if text.is_empty() {
        return Ok(Json::Null);
    }
    serde_json::from_str(text).map_err(|error| format!("{name} does not parse: {error}"))
}

/// A token entry of tokenizer_config.json: a string, or an object with "content".
fn token_text(entry: &Json) -> Option<&str> {
    entry.as_str().or_else(|| entry.get("content")?.as_str())
}

/// The template itself, or the one called "default" of a list.
fn template_source(config: &Json) -> Option<String> {
    match config.get("chat_template")? {
        Json::String(source) => Some(source.clone()),
        Json::Array(choices) => choices
            .iter()
            .find(|choice| choice["name"] == "default")
            .and_then(|choice| choice["template"].as_str())
            .map(str::to_string),
        _ => None,
    }
}

fn eos_ids(tokenizer: &Tokenizer, config: &Json, generation: &Json) -> Vec<u32> {
    let mut ids: Vec<u32> = Vec::new();
    match &generation["eos_token_id"] {
        Json::Array(list) => ids.extend(list.iter().filter_map(|id| id.as_u64()).map(|id| id as u32)),
        one => ids.extend(one.as_u64().map(|id| id as u32)),
    }
    ids.extend(token_text(&config["eos_token"]).and_then(|text| tokenizer.token_to_id(text)));
    ids.sort_unstable();
    ids.dedup();
    ids
}

impl Model {
    pub fn load(files: &ModelFiles) -> Result<Self, String> {
        let mut marked: Tokenizer = files
            .tokenizer_json
            .parse()
            .map_err(|error| format!("tokenizer.json does not parse: {error}"))?;
        let config = parse_json("tokenizer_config.json", files.tokenizer_config_json)?;
        let generation = parse_json("generation_config.json", files.generation_config_json)?;

        // Limits and padding are the caller's business.
        marked.with_truncation(None).map_err(|error| error.to_string())?;
        marked.with_padding(None);
        let post_processor = marked.get_post_processor().cloned();
        marked.with_post_processor(None::<PostProcessorWrapper>);
        let mut plain = marked.clone();
        plain.set_encode_special_tokens(true);

        let mut special_tokens: Vec<SpecialToken> = marked
            .get_added_tokens_decoder()
            .into_iter()
            .filter(|(_, token)| token.special && !token.content.is_empty())
            .map(|(id, token)| SpecialToken { id, token })
            .collect();
        special_tokens.sort_by_key(|special| special.id);
        let special_finder = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(special_tokens.iter().map(|special| special.token.content.as_str()))
            .map_err(|error| error.to_string())?;

        let vocab_size = marked.get_vocab(true).values().max().map_or(0, |id| id + 1);
        let named_tokens: NamedTokens = ["bos_token", "eos_token", "unk_token", "pad_token"]
            .iter()
            .filter_map(|name| Some((name.to_string(), token_text(&config[*name])?.to_string())))
            .collect();
        let source = match files.chat_template_jinja {
            "" => template_source(&config),
            source => Some(source.to_string()),
        };
        let chat_template = source.map(|source| ChatTemplate::new(source, named_tokens)).transpose()?;
        Ok(Self {
            eos_ids: eos_ids(&marked, &config, &generation),
            bos_id: token_text(&config["bos_token"]).and_then(|text| marked.token_to_id(text)),
            marked,
            plain,
            post_processor,
            special_tokens,
            special_finder,
            vocab_size,
            chat_template,
        })
    }

    pub fn vocab_size(&self) -> u32 {
        self.vocab_size
    }

    pub fn eos_ids(&self) -> &[u32] {
        &self.eos_ids
    }

    pub fn bos_id(&self) -> Option<u32> {
        self.bos_id
    }

    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.marked.token_to_id(token)
    }

    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.chat_template.as_ref()
    }

    /// Spellings of the special tokens with their ids, in the order of the ids.
    pub fn special_tokens(&self) -> impl Iterator<Item = (u32, &str)> {
        self.special_tokens.iter().map(|special| (special.id, special.token.content.as_str()))
    }

    fn is_special(&self, id: u32) -> bool {
        self.special_tokens.binary_search_by_key(&id, |special| special.id).is_ok()
    }

    /// Offsets are not filled in.
    pub fn encode(&self, text: &str, add_special: bool, allow_special: bool) -> Result<Encoding, String> {
        let tokenizer = if allow_special { &self.marked } else { &self.plain };
        let mut encoding =
            tokenizer.encode_fast(text, false).map_err(|error| format!("cannot encode: {error}"))?;
        if !allow_special {
            self.check_plain(encoding.get_ids())?;
        }
        if let (true, Some(processor)) = (add_special, &self.post_processor) {
            encoding = processor
                .process(encoding, None, true)
                .map_err(|error| format!("cannot post-process: {error}"))?;
        }
        Ok(Encoding { ids: encoding.get_ids().to_vec(), ..Default::default() })
    }

    /// Encodes a rendered template. `guard` is a character that the caller put into customers' text
    /// wherever it spells a special token, so that what is left of them is the template's; it is
    /// removed before encoding. Offsets refer to the text without it.
    pub fn encode_rendered(&self, text: &str, guard: char) -> Result<Encoding, String> {
        let mut result = Encoding::default();
        if !text.contains(guard) {
            // The usual row: all in one, as transformers does it.
            append(&mut result, &self.marked, text, 0)?;
            return Ok(result);
        }
        let mut clean_offset = 0;
        let mut position = 0;
        for found in self.special_finder.find_iter(text) {
            let special = &self.special_tokens[found.pattern().as_usize()];
            let segment = &text[position..found.start()];
            clean_offset = self.append_plain(&mut result, segment, special, guard, clean_offset)?;
            result.ids.push(special.id);
            result.begins.push(clean_offset);
            clean_offset += (found.end() - found.start()) as u32;
            result.ends.push(clean_offset);
            position = found.end();
        }
        let rest = text[position..].replace(guard, "");
        let begin = result.ids.len();
        append(&mut result, &self.plain, &rest, clean_offset)?;
        self.check_plain(&result.ids[begin..])?;
        Ok(result)
    }

    /// Encodes the text in front of `next`; returns the offset behind it.
    fn append_plain(
        &self,
        result: &mut Encoding,
        segment: &str,
        next: &SpecialToken,
        guard: char,
        offset: u32,
    ) -> Result<u32, String> {
        let clean = segment.replace(guard, "");
        // A token may swallow the white space beside it.
        let previous = result.ids.last().copied().filter(|id| self.is_special(*id));
        let mut kept = clean.as_str();
        let mut begin = offset;
        if previous.is_some_and(|id| self.strips_right(id)) {
            kept = kept.trim_start();
            begin += (clean.len() - kept.len()) as u32;
        }
        if next.token.lstrip {
            kept = kept.trim_end();
        }
        let first = result.ids.len();
        append(result, &self.plain, kept, begin)?;
        self.check_plain(&result.ids[first..])?;
        Ok(offset + clean.len() as u32)
    }

    fn strips_right(&self, id: u32) -> bool {
        self.special_tokens
            .binary_search_by_key(&id, |special| special.id)
            .is_ok_and(|index| self.special_tokens[index].token.rstrip)
    }

    /// The promise to callers: ordinary text never becomes a special token, whatever the vocabulary.
    fn check_plain(&self, ids: &[u32]) -> Result<(), String> {
        match ids.iter().find(|id| self.is_special(**id)) {
            None => Ok(()),
            Some(id) => Err(format!("ordinary text was encoded as the special token {id}")),
        }
    }

    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, String> {
        if let Some(id) = ids.iter().find(|id| self.marked.id_to_token(**id).is_none()) {
            return Err(format!("id {id} is not in the vocabulary"));
        }
        self.marked.decode(ids, skip_special).map_err(|error| format!("cannot decode: {error}"))
    }
}

fn append(result: &mut Encoding, tokenizer: &Tokenizer, text: &str, offset: u32) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    let encoding = tokenizer.encode(text, false).map_err(|error| format!("cannot encode: {error}"))?;
    result.ids.extend_from_slice(encoding.get_ids());
    for (begin, end) in encoding.get_offsets() {
        result.begins.push(offset + *begin as u32);
        result.ends.push(offset + *end as u32);
    }
    Ok(())
}
