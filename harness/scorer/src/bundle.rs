//! A bundle is everything a model needs, as named byte strings: configuration, tokenizer, weights, prompts.
//!
//! The names are those of a sentence-transformers folder (`config.json`, `modules.json`, `tokenizer.json`,
//! `model.safetensors`, `1_Pooling/config.json`, ...), so a folder and a file hold the same bundle and have the same
//! digest. This crate reads no disk: the caller brings the bytes.
//!
//! # The one-file form, version 1
//!
//! Little-endian throughout.
//!
//! | bytes | content |
//! |---|---|
//! | 0..8 | `GRADEDBN` |
//! | 8..12 | version, `u32`, 1 |
//! | 12..16 | H, length of the header in bytes, `u32`, at most 1 MiB |
//! | 16..48 | blake3 of the header |
//! | 48..48+H | header: a JSON array of `{"name", "offset", "length", "blake3"}`, sorted by name |
//! | P.. | the files, each at `P + offset` |
//!
//! `P` is `48 + H` rounded up to 64, every `offset` is the end of the file before rounded up to 64 (so weights can be
//! read where they lie), gaps are zero, and the last file ends the bundle. A reader checks all of it before it copies
//! anything: nothing is allocated on the word of a header.
//!
//! # The digest
//!
//! blake3 over the files that decide the scores, sorted by name, each as length of name (`u64`), name, length of content
//! (`u64`), content. `README.md`, `LICENSE` and `labeler.json` are carried (and checked one by one) but do not count:
//! correcting a model card does not make another model, and a head leaves the vectors as they are. A labeler's own digest
//! adds the head.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Result, ScorerError};

/// Model configuration: architecture, widths, layers.
pub const CONFIG: &str = "config.json";
/// The tokenizer in the `tokenizers` JSON form.
pub const TOKENIZER: &str = "tokenizer.json";
/// The tensors.
pub const WEIGHTS: &str = "model.safetensors";
/// The chain of sentence-transformers modules.
pub const MODULES: &str = "modules.json";
/// How token vectors become one vector.
pub const POOLING: &str = "1_Pooling/config.json";
/// `max_seq_length` and `do_lower_case`.
pub const SENTENCE_BERT: &str = "sentence_bert_config.json";
/// Prompts by name.
pub const PROMPTS: &str = "config_sentence_transformers.json";
/// The model card.
pub const CARD: &str = "README.md";
/// How features become a grade ([`crate::labeler`]). Decides labels, not vectors: see the digest above.
pub const LABELER: &str = "labeler.json";
/// The licence text.
pub const LICENSE: &str = "LICENSE";

/// Every file a bundle may hold, by its name inside a model's folder.
pub const FILES: [&str; 10] =
    [CONFIG, TOKENIZER, WEIGHTS, MODULES, POOLING, SENTENCE_BERT, PROMPTS, LABELER, CARD, LICENSE];
/// The files that change no vector.
const BESIDE: [&str; 3] = [LABELER, CARD, LICENSE];
const MAGIC: &[u8; 8] = b"GRADEDBN";
const VERSION: u32 = 1;
const PREAMBLE: usize = 48;
const ALIGNMENT: usize = 64;
const MAX_HEADER: usize = 1 << 20;

/// A model's files by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    files: BTreeMap<String, Vec<u8>>,
    digest: String,
}

/// What a bundle is, in a few words, for a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Description {
    /// `model_type` of the configuration: `bert`, `static_table`, or whatever is there.
    pub model_type: String,
    /// Width of a vector, where the configuration says so.
    pub dimensions: Option<u64>,
    /// Entries of the vocabulary, where the configuration says so.
    pub vocabulary: Option<u64>,
    /// Transformer layers, where there are any.
    pub layers: Option<u64>,
    /// Names and byte counts of the files.
    pub files: Vec<(String, u64)>,
    /// The sum of those counts.
    pub bytes: u64,
    /// Hexadecimal blake3 of the files that decide the scores.
    pub digest: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    offset: u64,
    length: u64,
    blake3: String,
}

impl Bundle {
    /// Whether a file of a model folder belongs in a bundle; `name` is relative to the folder, with forward slashes.
    pub fn takes(name: &str) -> bool {
        FILES.contains(&name)
    }

    /// A bundle from named bytes. Names that [`Bundle::takes`] refuses are dropped, so a folder with other exports in it
    /// has the digest of its own model.
    ///
    /// # Errors
    /// [`ScorerError::MissingFile`] when `config.json` is not there.
    pub fn from_files(mut files: BTreeMap<String, Vec<u8>>) -> Result<Self> {
        files.retain(|name, _| Self::takes(name));
        if !files.contains_key(CONFIG) {
            return Err(ScorerError::MissingFile { file: CONFIG.into() });
        }
        let digest = content_digest(&files);
        Ok(Self { files, digest })
    }

    /// Whether these are the first bytes of a bundle in its one-file form.
    pub fn begins(bytes: &[u8]) -> bool {
        bytes.starts_with(MAGIC)
    }

    /// A bundle from the one-file form.
    ///
    /// # Errors
    /// [`ScorerError::BadContainer`] for anything but a whole, unaltered bundle of this version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (entries, payload) = read_header(bytes)?;
        let mut files = BTreeMap::new();
        let mut end = 0;
        for entry in &entries {
            let content = entry_content(entry, payload, end)?;
            end = align(end) + content.len();
            if files.insert(entry.name.clone(), content.to_vec()).is_some() {
                return Err(container(format!("{} is listed twice", entry.name)));
            }
        }
        if end != payload.len() {
            return Err(container(format!("{} bytes follow the last file", payload.len() - end)));
        }
        Self::from_files(files)
    }

    /// The one-file form. Reading it back gives an equal bundle.
    pub fn to_bytes(&self) -> Vec<u8> {
        let header = self.header();
        let mut bytes = Vec::new();
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(header.len() as u32).to_le_bytes());
        bytes.extend_from_slice(blake3::hash(&header).as_bytes());
        bytes.extend_from_slice(&header);
        for content in self.files.values() {
            bytes.resize(align(bytes.len()), 0);
            bytes.extend_from_slice(content);
        }
        bytes
    }

    /// Hexadecimal blake3 of the files that decide the scores.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// One file, if it is there.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(Vec::as_slice)
    }

    /// One file.
    ///
    /// # Errors
    /// [`ScorerError::MissingFile`].
    pub fn require(&self, name: &str) -> Result<&[u8]> {
        self.get(name).ok_or_else(|| ScorerError::MissingFile { file: name.into() })
    }

    /// One JSON file, read into `T`; `None` when it is absent.
    ///
    /// # Errors
    /// [`ScorerError::BadConfig`] with the parser's line and column.
    pub fn json<T: for<'a> Deserialize<'a>>(&self, name: &str) -> Result<Option<T>> {
        let Some(bytes) = self.get(name) else { return Ok(None) };
        let value = serde_json::from_slice(bytes)
            .map_err(|error| ScorerError::BadConfig { file: name.into(), reason: error.to_string() })?;
        Ok(Some(value))
    }

    /// What is in the bundle, without loading it.
    ///
    /// # Errors
    /// [`ScorerError::BadConfig`] when `config.json` is not a JSON object.
    pub fn describe(&self) -> Result<Description> {
        let config: serde_json::Map<String, serde_json::Value> = self.json(CONFIG)?.unwrap_or_default();
        let number = |key: &str| config.get(key).and_then(|value| value.as_u64());
        let files: Vec<(String, u64)> =
            self.files.iter().map(|(name, content)| (name.clone(), content.len() as u64)).collect();
        Ok(Description {
            model_type: config.get("model_type").and_then(|v| v.as_str()).unwrap_or("unknown").into(),
            dimensions: number("hidden_size").or_else(|| number("dimensions")),
            vocabulary: number("vocab_size"),
            layers: number("num_hidden_layers"),
            bytes: files.iter().map(|(_, length)| length).sum(),
            files,
            digest: self.digest.clone(),
        })
    }

    fn header(&self) -> Vec<u8> {
        let mut offset = 0;
        let mut entries = Vec::with_capacity(self.files.len());
        for (name, content) in &self.files {
            let blake3 = blake3::hash(content).to_hex().to_string();
            entries.push(Entry { name: name.clone(), offset, length: content.len() as u64, blake3 });
            offset = align(offset as usize + content.len()) as u64;
        }
        serde_json::to_vec(&entries).unwrap_or_default()
    }
}

fn container(reason: String) -> ScorerError {
    ScorerError::BadContainer { reason }
}

fn align(length: usize) -> usize {
    length.next_multiple_of(ALIGNMENT)
}

fn content_digest(files: &BTreeMap<String, Vec<u8>>) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, content) in files.iter().filter(|(name, _)| !BESIDE.contains(&name.as_str())) {
        for part in [name.as_bytes(), content] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    hasher.finalize().to_hex().to_string()
}

/// The entries and the payload (the bytes from `P` on), with the header's own digest checked.
fn read_header(bytes: &[u8]) -> Result<(Vec<Entry>, &[u8])> {
    let preamble = bytes.get(..PREAMBLE).ok_or_else(|| {
        container(format!("{} bytes are fewer than the {PREAMBLE} of a preamble", bytes.len()))
    })?;
    if &preamble[..8] != MAGIC {
        return Err(container("the first eight bytes are not GRADEDBN".into()));
    }
    let number =
        |at: usize| u32::from_le_bytes([preamble[at], preamble[at + 1], preamble[at + 2], preamble[at + 3]]);
    if number(8) != VERSION {
        return Err(container(format!("version {} where {VERSION} was expected", number(8))));
    }
    let length = number(12) as usize;
    if length > MAX_HEADER {
        return Err(container(format!("a header of {length} bytes is over the limit of {MAX_HEADER}")));
    }
    let header = bytes
        .get(PREAMBLE..PREAMBLE + length)
        .ok_or_else(|| container(format!("truncated: the header of {length} bytes is not all there")))?;
    if blake3::hash(header).as_bytes() != &preamble[16..48] {
        return Err(container("the header does not match its digest".into()));
    }
    let entries = serde_json::from_slice(header).map_err(|error| container(format!("header: {error}")))?;
    let payload = bytes.get(align(PREAMBLE + length)..).unwrap_or_default();
    if bytes.iter().take(align(PREAMBLE + length)).skip(PREAMBLE + length).any(|&byte| byte != 0) {
        return Err(container("the gap after the header is not zero".into()));
    }
    Ok((entries, payload))
}

/// The content of one entry, its place and digest checked; `end` is where the file before it ended.
fn entry_content<'a>(entry: &Entry, payload: &'a [u8], end: usize) -> Result<&'a [u8]> {
    let name = &entry.name;
    if !Bundle::takes(name) {
        return Err(container(format!("{name:?} is not a name of a bundle")));
    }
    if entry.offset != align(end) as u64 {
        return Err(container(format!(
            "{name} starts at {} where {} was expected",
            entry.offset,
            align(end)
        )));
    }
    let stop = entry.offset.checked_add(entry.length).and_then(|stop| usize::try_from(stop).ok());
    let content = stop
        .and_then(|stop| payload.get(align(end)..stop))
        .ok_or_else(|| container(format!("truncated: {name} of {} bytes is not all there", entry.length)))?;
    if payload[end..align(end)].iter().any(|&byte| byte != 0) {
        return Err(container(format!("the gap before {name} is not zero")));
    }
    if blake3::hash(content).to_hex().as_str() != entry.blake3 {
        return Err(container(format!("{name} does not match its digest")));
    }
    Ok(content)
}
