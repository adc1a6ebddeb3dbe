//! A sentence-transformers model: tokens, transformer, pooling, length 1.
//!
//! Texts are sorted by length and cut into batches of about `batch_tokens` tokens. A batch is packed: token after token
//! without padding, so a text's vector cannot depend on its neighbours' lengths. Natively the batches run in parallel on
//! rayon's threads.

use kernels::encoder::{self, Sequence, float};
use serde::Deserialize;

use crate::bundle::{Bundle, CONFIG, MODULES, SENTENCE_BERT, WEIGHTS};
use crate::encoder::bert::BertConfig;
use crate::encoder::float_bert::Bert;
use crate::encoder::quantized::{MODEL_TYPE, QuantizedBert};
use crate::encoder::{Embeddings, Encoder, EncoderOptions, digest_with, normalize};
use crate::error::{Result, ScorerError};
use crate::pooling::Pooling;
use crate::template::{Role, Template};
use crate::tokens::Tokens;
use crate::weights::Weights;

/// A transformer encoder, in floats or in 8 bits, with its tokenizer, prompts and pooling.
pub struct DualEncoder {
    tokens: Tokens,
    template: Template,
    lowercase: bool,
    transformer: Transformer,
    config: BertConfig,
    pooling: Pooling,
    batch_tokens: usize,
    digest: String,
}

/// A transformer of either kind.
pub(crate) enum Transformer {
    Float(Bert),
    Quantized(QuantizedBert),
}

impl Transformer {
    /// The transformer of a bundle, by its `model_type`.
    pub(crate) fn from_bundle(
        bundle: &Bundle,
        config: &BertConfig,
        weights: &Weights,
        options: &EncoderOptions,
    ) -> Result<Self> {
        match bundle.describe()?.model_type.as_str() {
            MODEL_TYPE => {
                Ok(Self::Quantized(QuantizedBert::from_weights(config, weights, options.instructions)?))
            }
            _ => Ok(Self::Float(Bert::from_weights(config, weights, options.instructions)?)),
        }
    }

    /// The digest of a bundle as that of its vectors. What was computed and kept by other sums is not taken for ours, nor the
    /// other way round.
    pub(crate) fn digest(&self, bundle: String) -> String {
        let sums = match self {
            Self::Float(_) => format!("floats={}", float::BITS),
            Self::Quantized(_) => format!("codes={}", encoder::BITS),
        };
        blake3::hash(format!("{bundle}:{sums}").as_bytes()).to_hex().to_string()
    }

    /// Token vectors, `sum of lengths x hidden_size`, of sequences that may be pairs.
    pub(crate) fn forward_sequences(&self, packed: &[Sequence<'_>]) -> Result<Vec<f32>> {
        match self {
            Transformer::Float(bert) => bert.forward_sequences(packed),
            Transformer::Quantized(bert) => bert.forward_sequences(packed),
        }
    }
}

#[derive(Deserialize, Default)]
struct SentenceBertFile {
    max_seq_length: Option<usize>,
    #[serde(default)]
    do_lower_case: bool,
}

#[derive(Deserialize)]
struct Module {
    r#type: String,
}

impl DualEncoder {
    /// Loads a bundle in the sentence-transformers layout. Vectors are scaled to length 1 whether or not the bundle has a
    /// `Normalize` module.
    ///
    /// # Errors
    /// Whatever is wrong, named by file, key and tensor.
    pub fn from_bundle(bundle: &Bundle, options: &EncoderOptions) -> Result<Self> {
        check_modules(bundle)?;
        if options.batch_tokens == 0 || options.max_tokens.is_some_and(|limit| limit < 2) {
            let reason = "batch_tokens must be at least 1 and max_tokens at least 2";
            return Err(ScorerError::BadArgument(reason.into()));
        }
        let config = BertConfig::from_bundle(bundle)?;
        let file: SentenceBertFile = bundle.json(SENTENCE_BERT)?.unwrap_or_default();
        let limit = options.max_tokens.or(file.max_seq_length).unwrap_or(config.max_position_embeddings);
        let limit = limit.min(config.max_position_embeddings);
        let tokens = Tokens::from_bundle(bundle, true, Some(limit))?;
        check_vocabulary(&tokens, &config)?;
        let weights = Weights::from_bundle(bundle, WEIGHTS)?;
        let transformer = Transformer::from_bundle(bundle, &config, &weights, options)?;
        Ok(Self {
            tokens,
            template: Template::from_bundle(bundle)?,
            lowercase: file.do_lower_case,
            digest: transformer.digest(digest_with(bundle, options.max_tokens)),
            transformer,
            config,
            pooling: Pooling::from_bundle(bundle)?,
            batch_tokens: options.batch_tokens,
        })
    }

    /// The tokenizer, for those who look at ids.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// The transformer's configuration.
    pub fn config(&self) -> &BertConfig {
        &self.config
    }

    /// One vector of length 1 per sequence of ids, in order: what [`Encoder::encode`] does after tokenising.
    ///
    /// # Errors
    /// Those of [`DualEncoder::pool_ids`].
    pub fn encode_ids(&self, sequences: &[Vec<u32>]) -> Result<Embeddings> {
        let mut values = self.pool_ids(sequences)?;
        values.chunks_exact_mut(self.dimensions()).for_each(normalize);
        Ok(Embeddings { dimensions: self.dimensions(), values })
    }

    /// The pooled vector of each sequence of ids as the model gives it, not scaled, row-major. Sequences are
    /// taken as they are, special tokens included, and must hold 1 to `max_position_embeddings` ids of the vocabulary.
    ///
    /// # Errors
    /// `BadArgument` for an empty or overlong sequence or an unknown id.
    pub fn pool_ids(&self, sequences: &[Vec<u32>]) -> Result<Vec<f32>> {
        let mut order: Vec<usize> = (0..sequences.len()).collect();
        order.sort_by_key(|&index| sequences[index].len());
        let batches = batches(&order, |index| sequences[index].len(), self.batch_tokens);
        let results = self.run(&batches, sequences)?;
        let width = self.dimensions();
        let mut values = vec![0.0; sequences.len() * width];
        for (batch, vectors) in batches.iter().zip(&results) {
            for (&index, vector) in batch.iter().zip(vectors.chunks_exact(width)) {
                values[index * width..][..width].copy_from_slice(vector);
            }
        }
        Ok(values)
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn run(&self, batches: &[&[usize]], sequences: &[Vec<u32>]) -> Result<Vec<Vec<f32>>> {
        use rayon::prelude::*;
        batches.par_iter().map(|batch| self.encode_batch(batch, sequences)).collect()
    }

    #[cfg(target_arch = "wasm32")]
    fn run(&self, batches: &[&[usize]], sequences: &[Vec<u32>]) -> Result<Vec<Vec<f32>>> {
        batches.iter().map(|batch| self.encode_batch(batch, sequences)).collect()
    }

    fn encode_batch(&self, batch: &[usize], sequences: &[Vec<u32>]) -> Result<Vec<f32>> {
        let packed: Vec<_> = batch.iter().map(|&index| Sequence::single(&sequences[index])).collect();
        let hidden = self.transformer.forward_sequences(&packed)?;
        let width = self.dimensions();
        let mut rest = hidden.as_slice();
        let mut vectors = Vec::with_capacity(batch.len() * width);
        for sequence in packed {
            let (own, others) = rest.split_at(sequence.ids.len() * width);
            rest = others;
            vectors.extend_from_slice(&self.pooling.pool(own, width));
        }
        Ok(vectors)
    }

    pub(crate) fn ids(&self, text: &str, role: Role) -> Result<Vec<u32>> {
        let text = self.template.apply(text, role);
        if self.lowercase { self.tokens.encode(&text.to_lowercase()) } else { self.tokens.encode(&text) }
    }
}

impl Encoder for DualEncoder {
    fn dimensions(&self) -> usize {
        self.config.hidden_size
    }

    fn digest(&self) -> &str {
        &self.digest
    }

    fn encode(&self, texts: &[&str], role: Role) -> Result<Embeddings> {
        let sequences: Result<Vec<Vec<u32>>> = texts.iter().map(|text| self.ids(text, role)).collect();
        self.encode_ids(&sequences?)
    }
}

/// Cuts the sorted order where the next text would take a batch over the budget; a text is never split.
pub(crate) fn batches(order: &[usize], tokens: impl Fn(usize) -> usize, budget: usize) -> Vec<&[usize]> {
    let (mut batches, mut start, mut used) = (Vec::new(), 0, 0);
    for (position, &index) in order.iter().enumerate() {
        let length = tokens(index);
        if used + length > budget && position > start {
            batches.push(&order[start..position]);
            (start, used) = (position, 0);
        }
        used += length;
    }
    if start < order.len() {
        batches.push(&order[start..]);
    }
    batches
}

/// Only the chain transformer, pooling, normalize is computed here.
fn check_modules(bundle: &Bundle) -> Result<()> {
    let modules: Option<Vec<Module>> = bundle.json(MODULES)?;
    for module in modules.unwrap_or_default() {
        let name = module.r#type.rsplit('.').next().unwrap_or_default();
        if !["Transformer", "Pooling", "Normalize"].contains(&name) {
            let what = format!("the module {}", module.r#type);
            return Err(ScorerError::Unsupported { file: MODULES.into(), what });
        }
    }
    Ok(())
}

pub(crate) fn check_vocabulary(tokens: &Tokens, config: &BertConfig) -> Result<()> {
    if tokens.vocabulary_size() > config.vocab_size {
        let reason = format!(
            "vocab_size {} is below the tokenizer's {} ids",
            config.vocab_size,
            tokens.vocabulary_size()
        );
        return Err(ScorerError::BadConfig { file: CONFIG.into(), reason });
    }
    Ok(())
}
