//! A language model that writes: a prompt in, a completion out. Qwen2's and Qwen3's architectures (Qwen2.5 is the former),
//! from a GGUF file, quantized or not, or from safetensors with their config.json; the networks are candle's.
//!
//! Generation is greedy at temperature 0, else drawn from the most probable tokens ([`Sampling`]); every draw is a function
//! of seed and place, so that a question has one answer on one machine. A prompt runs through the network in pieces of
//! [`PREFILL_TOKENS`], which bounds the memory of its attention; keys and values of what was read stay until the next
//! question.
//!
//! What is asked stands in the ChatML form that these models are trained on (`chat.rs`); another template is refused.

mod chat;
mod config;
mod gguf;
mod sampling;
mod shards;

use candle_core::{DType, Device, Tensor};
use candle_transformers::models::{quantized_qwen2, quantized_qwen3, qwen2, qwen3};

use self::chat::Chat;
pub use self::sampling::Sampling;
use crate::error::{Result, ScorerError};
use crate::tokenizer_file;

/// How many tokens of a prompt run through the network at a time.
pub const PREFILL_TOKENS: usize = 256;

/// A model's files, as bytes.
pub enum ModelFiles<'a> {
    /// One GGUF file.
    Gguf {
        /// The file.
        file: &'a [u8],
        /// A `tokenizer.json` beside it; the file's own vocabulary serves without.
        tokenizer: Option<&'a [u8]>,
    },
    /// A Hugging Face folder.
    Folder {
        /// `config.json`.
        config: &'a [u8],
        /// `tokenizer.json`.
        tokenizer: &'a [u8],
        /// `generation_config.json`, which may name further tokens that end an answer.
        generation_config: Option<&'a [u8]>,
        /// `chat_template.jinja`, or `tokenizer_config.json`, which may hold the template: name and content.
        template: Option<(&'a str, &'a [u8])>,
        /// Every `*.safetensors` file, by name.
        weights: Vec<(String, &'a [u8])>,
    },
}

/// What a caller decides about a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The longest prompt and answer together, in tokens; at most what the model was made for.
    pub context_tokens: usize,
    /// A system message before every prompt.
    pub system: Option<String>,
    /// Whether a model that can think aloud first does so; what it thinks is no part of the answer.
    pub thinking: bool,
}

/// What a model wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The text.
    pub text: String,
    /// Its tokens, the one that ended it not counted.
    pub tokens: usize,
    /// Whether it was cut at [`Sampling::max_tokens`].
    pub is_cut: bool,
}

/// A language model in memory.
pub struct LanguageModel {
    network: Network,
    chat: Chat,
    architecture: &'static str,
    layers: usize,
    context_tokens: usize,
}

/// candle's implementations; each keeps keys and values of what it has read.
enum Network {
    Qwen2(qwen2::ModelForCausalLM),
    Qwen3(qwen3::ModelForCausalLM),
    QuantizedQwen2(quantized_qwen2::ModelWeights),
    QuantizedQwen3(quantized_qwen3::ModelWeights),
}

impl LanguageModel {
    /// Loads a model. Weights of a folder are held as 32-bit floats, those of a GGUF file as they are.
    ///
    /// # Errors
    /// `Unsupported` for another architecture, a rotary scaling, a sliding window or a template that is not ChatML;
    /// `BadConfig`, `BadWeights`, `MissingTensor`, `Tokenizer` or `Compute` for files that are damaged or do not fit.
    pub fn load(files: &ModelFiles<'_>, settings: &Settings) -> Result<Self> {
        if settings.context_tokens == 0 {
            return Err(ScorerError::BadArgument("context_tokens: expected at least 1".into()));
        }
        match files {
            ModelFiles::Gguf { file, tokenizer } => gguf::load(file, *tokenizer, settings),
            ModelFiles::Folder { config, tokenizer, generation_config, template, weights } => {
                let config = config::read(config, settings.context_tokens)?;
                let network = shards::network(&config, weights)?;
                let (name, template) = match template {
                    Some((name, bytes)) => (*name, config::template(name, bytes)?),
                    None => ("", None),
                };
                let mut stops = config.stops.clone();
                stops.extend(config::stops_of(*generation_config)?);
                let tokenizer = tokenizer_file::read(tokenizer)?.0;
                let chat = Chat::new(tokenizer, (name, template.as_deref()), stops, settings)?;
                let (architecture, layers) = (config.architecture, config.layers);
                Ok(Self { network, chat, architecture, layers, context_tokens: config.context_tokens })
            }
        }
    }

    /// `qwen2` or `qwen3`.
    pub fn architecture(&self) -> &'static str {
        self.architecture
    }

    /// Transformer layers.
    pub fn layers(&self) -> usize {
        self.layers
    }

    /// The longest prompt and answer together, in tokens.
    pub fn context_tokens(&self) -> usize {
        self.context_tokens
    }

    /// The ids of a prompt in its frame. Whatever stands in the prompt, it cannot end its turn: words that would be
    /// control tokens are encoded as words.
    ///
    /// # Errors
    /// `Tokenizer`, with the library's words.
    pub fn ids(&self, prompt: &str) -> Result<Vec<u32>> {
        self.chat.ids(prompt)
    }

    /// What follows `ids`. `go_on` is asked, with the number of tokens written so far, before each step: `false` ends the
    /// writing, and there is no answer.
    ///
    /// # Errors
    /// `BadArgument` when `ids` are none or leave no room for the answer, `Compute` with candle's words.
    pub fn complete(
        &mut self,
        ids: &[u32],
        sampling: &Sampling,
        go_on: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<Completion>> {
        let room = self.context_tokens.saturating_sub(ids.len());
        if ids.is_empty() || sampling.max_tokens == 0 || sampling.max_tokens > room {
            return Err(ScorerError::BadArgument(format!(
                "{} tokens of prompt and {} of answer, expected 1 and more, together at most {}",
                ids.len(),
                sampling.max_tokens,
                self.context_tokens
            )));
        }
        let Some(mut logits) = self.read(ids, go_on)? else { return Ok(None) };
        let mut written = Vec::new();
        let is_cut = loop {
            let next = sampling.pick(&logits, written.len())?;
            if self.chat.ends(next) {
                break false;
            }
            written.push(next);
            if written.len() == sampling.max_tokens {
                break true;
            }
            if !go_on(written.len()) {
                return Ok(None);
            }
            logits = self.network.forward(&[next], ids.len() + written.len() - 1)?;
        };
        Ok(Some(Completion { text: self.chat.text(&written)?, tokens: written.len(), is_cut }))
    }

    /// The scores of every token of the vocabulary after `ids`, read anew.
    ///
    /// # Errors
    /// As [`LanguageModel::complete`].
    pub fn logits(&mut self, ids: &[u32]) -> Result<Vec<f32>> {
        if ids.is_empty() || ids.len() > self.context_tokens {
            let most = self.context_tokens;
            return Err(ScorerError::BadArgument(format!("{} tokens, expected 1 to {most}", ids.len())));
        }
        Ok(self.read(ids, &mut |_| true)?.unwrap_or_default())
    }

    /// Forgets the question before and reads `ids` piece by piece; the scores after the last.
    fn read(&mut self, ids: &[u32], go_on: &mut dyn FnMut(usize) -> bool) -> Result<Option<Vec<f32>>> {
        self.network.forget();
        let mut logits = Vec::new();
        for (number, piece) in ids.chunks(PREFILL_TOKENS).enumerate() {
            if !go_on(0) {
                return Ok(None);
            }
            logits = self.network.forward(piece, number * PREFILL_TOKENS)?;
        }
        Ok(Some(logits))
    }
}

impl Network {
    /// The scores after `ids`, which stand from `place` on.
    fn forward(&mut self, ids: &[u32], place: usize) -> Result<Vec<f32>> {
        let ids = Tensor::from_slice(ids, (1, ids.len()), &Device::Cpu)?;
        let logits = match self {
            Self::Qwen2(network) => network.forward(&ids, place)?,
            Self::Qwen3(network) => network.forward(&ids, place)?,
            Self::QuantizedQwen2(network) => network.forward(&ids, place)?,
            Self::QuantizedQwen3(network) => network.forward(&ids, place)?,
        };
        Ok(logits.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?)
    }

    fn forget(&mut self) {
        match self {
            Self::Qwen2(network) => network.clear_kv_cache(),
            Self::Qwen3(network) => network.clear_kv_cache(),
            Self::QuantizedQwen2(network) => network.clear_kv_cache(),
            Self::QuantizedQwen3(network) => network.clear_kv_cache(),
        }
    }
}
