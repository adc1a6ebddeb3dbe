//! A static table: one vector per token, a text is the weighted mean of its tokens' vectors, scaled to length 1.
//!
//! There is no context and no multiplication of matrices, so it runs at the speed of the tokenizer. Token weights are
//! folded into the rows, and the division by their sum disappears in the scaling: encoding is a sum of rows.
//!
//! # Bundle
//!
//! `config.json`: `{"model_type": "static_table", "dimensions": d, "vocab_size": v, "max_tokens": n or null}`;
//! `tokenizer.json`; `model.safetensors` with `table` `[v, d]` (int8, f16, bf16 or f32) and, for int8, `scales` `[v]`
//! (any float): the vector of token t is `scales[t] * table[t]`. The row of the unknown token may be zero, then unknown
//! words do not count. A float table may also be called `embedding.weight`, as sentence-transformers' `StaticEmbedding`
//! calls it.

use serde::{Deserialize, Serialize};

use super::{Embeddings, Encoder, EncoderOptions, digest_with, normalize};
use crate::bundle::{Bundle, CONFIG, TOKENIZER, WEIGHTS};
use crate::error::{Result, ScorerError};
use crate::template::{Role, Template};
use crate::tokens::Tokens;
use crate::weights::Weights;

/// Texts handed to one thread at a time.
#[cfg(not(target_arch = "wasm32"))]
const CHUNK: usize = 256;

/// What sentence-transformers calls the table.
pub const SENTENCE_TRANSFORMERS_TABLE: &str = "embedding.weight";

/// The `config.json` of a static table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StaticTableConfig {
    /// Always `static_table`.
    pub model_type: String,
    /// Width of a vector.
    pub dimensions: usize,
    /// Rows of the table.
    pub vocab_size: usize,
    /// Tokens of a text that count, from the left; all of them when absent.
    pub max_tokens: Option<usize>,
}

/// The table and its tokenizer.
pub struct StaticTable {
    tokens: Tokens,
    template: Template,
    rows: Rows,
    dimensions: usize,
    digest: String,
}

enum Rows {
    Int8 { table: Vec<i8>, scales: Vec<f32> },
    Float(Vec<f32>),
}

impl StaticTable {
    /// Loads the table of a bundle.
    ///
    /// # Errors
    /// Whatever is wrong, named by file, key and tensor.
    pub fn from_bundle(bundle: &Bundle, options: &EncoderOptions) -> Result<Self> {
        let config: StaticTableConfig =
            bundle.json(CONFIG)?.ok_or(ScorerError::MissingFile { file: CONFIG.into() })?;
        let limit = options.max_tokens.or(config.max_tokens);
        if config.dimensions == 0 || config.vocab_size == 0 || limit == Some(0) {
            let reason = "dimensions, vocab_size and max_tokens must be at least 1".into();
            return Err(ScorerError::BadConfig { file: CONFIG.into(), reason });
        }
        let rows = Rows::read(&Weights::from_bundle(bundle, WEIGHTS)?, &config)?;
        let tokens = Tokens::from_bundle(bundle, false, limit)?;
        if tokens.vocabulary_size() > config.vocab_size {
            let reason =
                format!("{} ids for a table of {} rows", tokens.vocabulary_size(), config.vocab_size);
            return Err(ScorerError::BadConfig { file: TOKENIZER.into(), reason });
        }
        let template = Template::from_bundle(bundle)?;
        let digest = digest_with(bundle, options.max_tokens);
        Ok(Self { tokens, template, rows, dimensions: config.dimensions, digest })
    }

    /// The token ids of a text, repetitions included.
    pub(crate) fn ids(&self, text: &str, role: Role) -> Result<Vec<u32>> {
        self.tokens.encode(&self.template.apply(text, role))
    }

    /// Adds one token's vector.
    pub(crate) fn add_row(&self, id: u32, vector: &mut [f32]) {
        self.rows.add(id as usize, vector);
    }

    /// How a token is written.
    pub(crate) fn token(&self, id: u32) -> Option<String> {
        self.tokens.token(id)
    }

    fn encode_one(&self, text: &str, role: Role, ids: &mut Vec<u32>, vector: &mut [f32]) -> Result<()> {
        self.tokens.encode_into(&self.template.apply(text, role), ids)?;
        for &id in ids.iter() {
            self.rows.add(id as usize, vector);
        }
        normalize(vector);
        Ok(())
    }

    fn encode_chunk(&self, texts: &[&str], role: Role, vectors: &mut [f32]) -> Result<()> {
        let mut ids = Vec::new();
        for (text, vector) in texts.iter().zip(vectors.chunks_exact_mut(self.dimensions)) {
            self.encode_one(text, role, &mut ids, vector)?;
        }
        Ok(())
    }
}

impl Encoder for StaticTable {
    fn dimensions(&self) -> usize {
        self.dimensions
    }

    fn digest(&self) -> &str {
        &self.digest
    }

    fn encode(&self, texts: &[&str], role: Role) -> Result<Embeddings> {
        let mut values = vec![0.0; texts.len() * self.dimensions];
        #[cfg(not(target_arch = "wasm32"))]
        {
            use rayon::prelude::*;
            texts
                .par_chunks(CHUNK)
                .zip(values.par_chunks_mut(CHUNK * self.dimensions))
                .try_for_each(|(texts, vectors)| self.encode_chunk(texts, role, vectors))?;
        }
        #[cfg(target_arch = "wasm32")]
        self.encode_chunk(texts, role, &mut values)?;
        Ok(Embeddings { dimensions: self.dimensions, values })
    }
}

/// All rows in f32, row-major: what training starts from.
///
/// # Errors
/// A missing tensor, or one of another shape, by name.
pub fn rows(weights: &Weights, config: &StaticTableConfig) -> Result<Vec<f32>> {
    let rows = Rows::read(weights, config)?;
    let mut table = vec![0.0; config.vocab_size * config.dimensions];
    table.chunks_exact_mut(config.dimensions).enumerate().for_each(|(id, row)| rows.add(id, row));
    Ok(table)
}

impl Rows {
    fn read(weights: &Weights, config: &StaticTableConfig) -> Result<Self> {
        let shape = [config.vocab_size, config.dimensions];
        let name = if weights.contains("table") { "table" } else { SENTENCE_TRANSFORMERS_TABLE };
        match weights.dtype(name)? {
            safetensors::Dtype::I8 => Ok(Rows::Int8 {
                table: weights.bytes_i8(name, &shape)?,
                scales: weights.floats("scales", &shape[..1])?,
            }),
            _ => Ok(Rows::Float(weights.floats(name, &shape)?)),
        }
    }

    fn add(&self, id: usize, vector: &mut [f32]) {
        let width = vector.len();
        match self {
            Rows::Float(table) => {
                let row = &table[id * width..][..width];
                vector.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
            Rows::Int8 { table, scales } => {
                let row = &table[id * width..][..width];
                let scale = scales[id];
                vector.iter_mut().zip(row).for_each(|(sum, &value)| *sum += scale * f32::from(value));
            }
        }
    }
}
