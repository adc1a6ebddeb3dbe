//! Text -> token ids, by the `tokenizers` crate.
//!
//! Uncased BERT tokenizers get a fast path for ASCII texts, which are nearly all texts of the English collections: the
//! general library keeps, for every character, where it came from, and none of that is needed here. The fast path gives
//! the same ids (tested against the library on every test text, on random ones and on whole collections); a text with
//! any other character, or with something that might be a special token, takes the library's way.

use kernels::encoder::Sequence;
use rustc_hash::FxHashMap;
use serde_json::Value;
use tokenizers::{PostProcessor, PostProcessorWrapper, Tokenizer, TruncationParams};

use crate::bundle::{Bundle, TOKENIZER};
use crate::error::{Result, ScorerError};
use crate::tokenizer_file::{self, refused};

/// A tokenizer with its limit.
pub struct Tokens {
    tokenizer: Tokenizer,
    fast: Option<AsciiWordPiece>,
    special: bool,
    max_tokens: Option<usize>,
}

impl Tokens {
    /// The tokenizer of a bundle. `special` adds the model's own tokens (`[CLS] ... [SEP]`); `max_tokens` counts them and
    /// cuts at the right. Truncation and padding that the file itself asks for are ignored: the model's limit decides,
    /// and nothing is ever padded.
    ///
    /// # Errors
    /// `MissingFile`, `Tokenizer` when the library refuses the file, `BadConfig` when it is not JSON or contradicts
    /// itself, `BadArgument` for a limit that has no room for the special tokens.
    pub fn from_bundle(bundle: &Bundle, special: bool, max_tokens: Option<usize>) -> Result<Self> {
        Ok(Self::with_settings(bundle, special, max_tokens)?.0)
    }

    /// [`Tokens::from_bundle`], and the file that they were read from.
    fn with_settings(bundle: &Bundle, special: bool, max_tokens: Option<usize>) -> Result<(Self, Value)> {
        let (mut tokenizer, settings) = tokenizer_file::read(bundle.require(TOKENIZER)?)?;
        if !special {
            tokenizer.with_post_processor(None::<PostProcessorWrapper>);
        }
        let added = tokenizer.get_post_processor().map_or(0, |processor| processor.added_tokens(false));
        if let Some(limit) = max_tokens.filter(|&limit| limit < added) {
            return Err(ScorerError::BadArgument(format!(
                "max_tokens {limit}, of which the tokenizer adds {added}: expected {added} or more"
            )));
        }
        let limit = max_tokens.map(|max_length| TruncationParams { max_length, ..Default::default() });
        tokenizer.with_padding(None).with_truncation(limit).map_err(refused)?;
        let fast = AsciiWordPiece::for_tokenizer(&settings, &tokenizer, special);
        Ok((Self { tokenizer, fast, special, max_tokens }, settings))
    }

    /// Entries of the vocabulary, one more than the largest id.
    pub fn vocabulary_size(&self) -> usize {
        self.tokenizer.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1)
    }

    /// The tokens with their ids, sorted by id.
    pub fn vocabulary(&self) -> Vec<(String, u32)> {
        let mut vocabulary: Vec<_> = self.tokenizer.get_vocab(true).into_iter().collect();
        vocabulary.sort_by_key(|(_, id)| *id);
        vocabulary
    }

    /// The id of one token, if the vocabulary has it.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    /// How an id is written, if the vocabulary has it.
    pub fn token(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }

    /// The ids of a text.
    ///
    /// # Errors
    /// `Tokenizer`, with the library's words.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        self.encode_into(text, &mut ids)?;
        Ok(ids)
    }

    /// [`Tokens::encode`] into a buffer that is cleared first.
    ///
    /// # Errors
    /// `Tokenizer`, with the library's words.
    pub fn encode_into(&self, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        ids.clear();
        match self.fast.as_ref().filter(|fast| fast.accepts(text)) {
            Some(fast) => fast.encode(text, self.max_tokens.unwrap_or(usize::MAX), ids),
            None => ids.extend_from_slice(self.library(text)?.get_ids()),
        }
        Ok(())
    }

    /// The ids by the library alone: the definition that the fast path is held to.
    ///
    /// # Errors
    /// `Tokenizer`, with the library's words.
    pub fn encode_plainly(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.library(text)?.get_ids().to_vec())
    }

    fn library(&self, text: &str) -> Result<tokenizers::Encoding> {
        self.tokenizer.encode_fast(text, self.special).map_err(refused)
    }
}

/// The ids of a pair, special tokens included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairIds {
    /// `[CLS] first [SEP] second [SEP]`.
    pub ids: Vec<u32>,
    /// Where the second text begins: from this token on the segment is 1.
    pub second: usize,
}

impl PairIds {
    /// As an encoder reads it.
    pub fn sequence(&self) -> Sequence<'_> {
        Sequence { ids: &self.ids, second: self.second }
    }
}

/// A BERT tokenizer for pairs: `[CLS] first [SEP] second [SEP]`, the second text and the last token in segment 1.
pub struct PairTokens {
    tokens: Tokens,
    first: u32,
    separator: u32,
    /// Tokens of both texts together.
    room: usize,
}

/// `[CLS]` and two `[SEP]`.
const PAIR_FRAME: usize = 3;

impl PairTokens {
    /// The tokenizer of a bundle. `max_tokens` counts the special tokens; a longer pair is cut as [`longest_first`] says.
    ///
    /// # Errors
    /// Those of [`Tokens::from_bundle`]; `Unsupported` when the file joins pairs in another way; `BadArgument` for a limit
    /// below 5, which leaves a text without a token.
    pub fn from_bundle(bundle: &Bundle, max_tokens: usize) -> Result<Self> {
        if max_tokens < PAIR_FRAME + 2 {
            return Err(ScorerError::BadArgument(format!(
                "max_tokens {max_tokens} for a pair, expected 5 or more"
            )));
        }
        let room = max_tokens - PAIR_FRAME;
        let (tokens, settings) = Tokens::with_settings(bundle, false, Some(room))?;
        let frame = frame(&settings, &tokens.tokenizer).filter(|&frame| joins_as_bert(&settings, frame));
        let (first, separator) = frame.ok_or_else(|| {
            let what = "a post_processor that does not write pairs as [CLS] A [SEP] B [SEP]".into();
            ScorerError::Unsupported { file: TOKENIZER.into(), what }
        })?;
        Ok(Self { tokens, first, separator, room })
    }

    /// The tokenizer beneath.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// The ids of a pair.
    ///
    /// # Errors
    /// `Tokenizer`, with the library's words.
    pub fn encode(&self, first: &str, second: &str) -> Result<PairIds> {
        let (first, second) = (self.tokens.encode(first)?, self.tokens.encode(second)?);
        let (left, right) = longest_first(first.len(), second.len(), self.room);
        let mut ids = Vec::with_capacity(left + right + PAIR_FRAME);
        ids.push(self.first);
        ids.extend_from_slice(&first[..left]);
        ids.push(self.separator);
        let second_begins = ids.len();
        ids.extend_from_slice(&second[..right]);
        ids.push(self.separator);
        Ok(PairIds { ids, second: second_begins })
    }
}

/// How many tokens of two texts are kept where both together may have `room`: the longer one is cut until both are as
/// long, then both are, and an odd place goes to the one that was longer (to the second on a tie). These are the lengths
/// that the `tokenizers` library keeps under `longest_first`.
pub fn longest_first(first: usize, second: usize, room: usize) -> (usize, usize) {
    if first + second <= room {
        return (first, second);
    }
    let shorter = first.min(second).min(room / 2);
    if first > second { (room - shorter, shorter) } else { (shorter, room - shorter) }
}

/// BertNormalizer, BertPreTokenizer, WordPiece and the `[CLS] $A [SEP]` template, for ASCII.
struct AsciiWordPiece {
    words: FxHashMap<Box<[u8]>, u32>,
    continuations: FxHashMap<Box<[u8]>, u32>,
    longest: usize,
    max_word: usize,
    lowercase: bool,
    unknown: u32,
    frame: Option<(u32, u32)>,
    /// First bytes of the added tokens: a text with one of them may hold a special token.
    marks: Vec<u8>,
}

/// What BertNormalizer and BertPreTokenizer make of an ASCII byte.
#[derive(Clone, Copy, PartialEq)]
enum Class {
    Letter,
    Punctuation,
    Space,
    Dropped,
}

const CLASSES: [Class; 128] = {
    let mut classes = [Class::Letter; 128];
    let mut byte = 0;
    while byte < 128 {
        classes[byte] = match byte as u8 {
            b' ' | b'\t' | b'\n' | b'\r' => Class::Space,
            0..=31 | 127 => Class::Dropped,
            other if other.is_ascii_punctuation() => Class::Punctuation,
            _ => Class::Letter,
        };
        byte += 1;
    }
    classes
};

impl AsciiWordPiece {
    /// `None` unless the file describes exactly the pipeline that this code follows.
    fn for_tokenizer(settings: &Value, tokenizer: &Tokenizer, special: bool) -> Option<Self> {
        let (normalizer, model) = (&settings["normalizer"], &settings["model"]);
        let plain = normalizer["type"] == "BertNormalizer"
            && normalizer["clean_text"] == true
            && settings["pre_tokenizer"]["type"] == "BertPreTokenizer"
            && model["type"] == "WordPiece"
            && model["continuing_subword_prefix"] == "##";
        if !plain {
            return None;
        }
        let frame = match special {
            true => Some(frame(settings, tokenizer)?),
            false => None,
        };
        let mut fast = Self {
            words: FxHashMap::default(),
            continuations: FxHashMap::default(),
            longest: 0,
            max_word: usize::try_from(model["max_input_chars_per_word"].as_u64()?).ok()?,
            lowercase: normalizer["lowercase"].as_bool()?,
            unknown: tokenizer.token_to_id(model["unk_token"].as_str()?)?,
            frame,
            marks: marks(settings)?,
        };
        fast.fill(tokenizer);
        Some(fast)
    }

    fn fill(&mut self, tokenizer: &Tokenizer) {
        for (token, id) in tokenizer.get_vocab(false).into_iter().filter(|(token, _)| token.is_ascii()) {
            self.longest = self.longest.max(token.len());
            if let Some(rest) = token.strip_prefix("##").filter(|rest| !rest.is_empty()) {
                self.continuations.insert(rest.as_bytes().into(), id);
            }
            self.words.insert(token.into_bytes().into(), id);
        }
    }

    fn accepts(&self, text: &str) -> bool {
        text.is_ascii() && !text.bytes().any(|byte| self.marks.contains(&byte))
    }

    fn encode(&self, text: &str, limit: usize, ids: &mut Vec<u32>) {
        let room = limit.saturating_sub(if self.frame.is_some() { 2 } else { 0 });
        ids.extend(self.frame.map(|(first, _)| first));
        let start = ids.len();
        let mut word = Vec::with_capacity(32);
        for &byte in text.as_bytes() {
            match CLASSES[usize::from(byte)] {
                Class::Letter if self.lowercase => word.push(byte.to_ascii_lowercase()),
                Class::Letter => word.push(byte),
                Class::Dropped => {}
                class => {
                    self.finish(&mut word, ids);
                    if class == Class::Punctuation {
                        self.pieces(&[byte], ids);
                    }
                    if ids.len() - start >= room {
                        break;
                    }
                }
            }
        }
        self.finish(&mut word, ids);
        ids.truncate(start + room);
        ids.extend(self.frame.map(|(_, last)| last));
    }

    fn finish(&self, word: &mut Vec<u8>, ids: &mut Vec<u32>) {
        if !word.is_empty() {
            self.pieces(word, ids);
            word.clear();
        }
    }

    /// Greedy longest match from the left; a word that does not come out even is one unknown token.
    fn pieces(&self, word: &[u8], ids: &mut Vec<u32>) {
        let before = ids.len();
        let mut start = 0;
        while start < word.len() && word.len() <= self.max_word {
            let table = if start == 0 { &self.words } else { &self.continuations };
            let longest = (start + self.longest).min(word.len());
            let found =
                (start + 1..=longest).rev().find_map(|end| Some((end, *table.get(&word[start..end])?)));
            let Some((end, id)) = found else { break };
            ids.push(id);
            start = end;
        }
        if start < word.len() {
            ids.truncate(before);
            ids.push(self.unknown);
        }
    }
}

/// The two special tokens around a text, when the post-processor is the BERT one.
fn frame(settings: &Value, tokenizer: &Tokenizer) -> Option<(u32, u32)> {
    let processor = &settings["post_processor"];
    if processor["type"] == "BertProcessing" {
        let id = |key: &str| u32::try_from(processor[key][1].as_u64()?).ok();
        return Some((id("cls")?, id("sep")?));
    }
    let [first, text, last] = processor["single"].as_array()?.as_slice() else { return None };
    let id = |piece: &Value| tokenizer.token_to_id(piece["SpecialToken"]["id"].as_str()?);
    (processor["type"] == "TemplateProcessing" && text["Sequence"]["id"] == "A").then_some(())?;
    Some((id(first)?, id(last)?))
}

/// Whether pairs are joined as `first A last B last`, B and what follows in segment 1.
fn joins_as_bert(settings: &Value, (first, last): (u32, u32)) -> bool {
    let processor = &settings["post_processor"];
    if processor["type"] == "BertProcessing" {
        return true;
    }
    let Some(pieces) = processor["pair"].as_array() else { return false };
    let special = |piece: &Value, id: u32, segment: u64| {
        let name = &piece["SpecialToken"]["id"];
        let ids = &processor["special_tokens"][name.as_str().unwrap_or_default()]["ids"];
        piece["SpecialToken"]["type_id"] == segment && *ids == serde_json::json!([id])
    };
    let text = |piece: &Value, name: &str, segment: u64| {
        piece["Sequence"]["id"] == name && piece["Sequence"]["type_id"] == segment
    };
    let [a, b, c, d, e] = pieces.as_slice() else { return false };
    special(a, first, 0) && text(b, "A", 0) && special(c, last, 0) && text(d, "B", 1) && special(e, last, 1)
}

/// `None` when an added token could start with a byte that the fast path cannot look for.
fn marks(settings: &Value) -> Option<Vec<u8>> {
    let mut marks = Vec::new();
    for added in settings["added_tokens"].as_array()? {
        let first = *added["content"].as_str()?.as_bytes().first()?;
        if !first.is_ascii_punctuation() || added["normalized"] != false {
            return None;
        }
        if !marks.contains(&first) {
            marks.push(first);
        }
    }
    Some(marks)
}
