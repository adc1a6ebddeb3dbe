//! Texts -> unit vectors: the trait, and the door through which a bundle becomes an encoder.

pub mod bert;
pub mod float_bert;
pub mod quantized;
pub mod static_table;

use kernels::InstructionSet;
use serde::Deserialize;

use crate::bundle::{Bundle, CONFIG};
use crate::dual_encoder::DualEncoder;
use crate::error::{Result, ScorerError};
use crate::template::Role;
use static_table::StaticTable;

/// Turns texts into vectors of length 1, so that a dot product is a cosine.
pub trait Encoder: Send + Sync {
    /// The width of every vector.
    fn dimensions(&self) -> usize;

    /// Hexadecimal digest of everything that decides a vector, a key for those that are kept: the bundle's own, with what
    /// the options changed and, for a transformer in floats, with the order of its sums.
    fn digest(&self) -> &str;

    /// One vector per text, in order. A text without a known token gives the zero vector (static table) or the vector of
    /// its special tokens alone (transformer). A vector does not depend on the texts beside it.
    ///
    /// # Errors
    /// Only if the tokenizer fails.
    fn encode(&self, texts: &[&str], role: Role) -> Result<Embeddings>;
}

/// Vectors, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    /// Elements per row.
    pub dimensions: usize,
    /// `rows x dimensions` values.
    pub values: Vec<f32>,
}

impl Embeddings {
    /// How many vectors.
    pub fn rows(&self) -> usize {
        self.values.len().checked_div(self.dimensions).unwrap_or(0)
    }

    /// One vector.
    ///
    /// # Panics
    /// When `index` is not below [`Embeddings::rows`].
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.dimensions..][..self.dimensions]
    }

    /// The first `dimensions` values of every vector, brought back to length 1: what Matryoshka training makes of use
    /// (arXiv 2205.13147).
    ///
    /// # Panics
    /// When there are not as many, or none is asked for.
    pub fn prefixes(self, dimensions: usize) -> Self {
        assert!((1..=self.dimensions).contains(&dimensions));
        if dimensions == self.dimensions {
            return self;
        }
        let mut values = Vec::with_capacity(self.rows() * dimensions);
        for row in self.values.chunks_exact(self.dimensions) {
            let start = values.len();
            values.extend_from_slice(&row[..dimensions]);
            normalize(&mut values[start..]);
        }
        Self { dimensions, values }
    }
}

/// How a bundle is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncoderOptions {
    /// Tokens per text, special ones included, instead of the bundle's own limit (never above what the model has
    /// positions for).
    pub max_tokens: Option<usize>,
    /// Tokens that go through the transformer at once: the lever on memory (about 20 KiB per token for MiniLM).
    pub batch_tokens: usize,
    /// Where a transformer runs; no other bundle looks at it, and no result depends on it.
    pub instructions: Instructions,
}

/// The instructions a transformer uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Instructions {
    /// The fastest this processor has.
    #[default]
    Best,
    /// The plain loops that define the result.
    Scalar,
    /// A named set, refused where it is missing.
    Set(InstructionSet),
}

impl Default for EncoderOptions {
    fn default() -> Self {
        Self { max_tokens: None, batch_tokens: 2048, instructions: Instructions::Best }
    }
}

/// The encoder of a bundle: a transformer (`"model_type": "bert"`, or `"bert_int8"` in 8 bits) or a static table
/// (`"static_table"`).
///
/// # Errors
/// Whatever is wrong with the bundle, named by file, key and tensor; nothing is allocated by a size that only a header
/// claims.
pub fn load_encoder(bundle: &Bundle, options: &EncoderOptions) -> Result<Box<dyn Encoder + Send + Sync>> {
    #[derive(Deserialize)]
    struct Kind {
        model_type: String,
    }
    let kind: Kind = bundle.json(CONFIG)?.ok_or(ScorerError::MissingFile { file: CONFIG.into() })?;
    match kind.model_type.as_str() {
        "bert" | quantized::MODEL_TYPE => Ok(Box::new(DualEncoder::from_bundle(bundle, options)?)),
        "static_table" => Ok(Box::new(StaticTable::from_bundle(bundle, options)?)),
        other => Err(ScorerError::Unsupported { file: CONFIG.into(), what: format!("model_type {other:?}") }),
    }
}

/// Scales a vector to length 1; the zero vector stays as it is. The sum runs in f64, so that the order of operations
/// hardly matters.
pub(crate) fn normalize(vector: &mut [f32]) {
    let squares: f64 = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    if squares > 0.0 {
        let scale = 1.0 / squares.sqrt();
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) * scale) as f32);
    }
}

/// The digest of a bundle with a token limit other than its own.
pub(crate) fn digest_with(bundle: &Bundle, max_tokens: Option<usize>) -> String {
    match max_tokens {
        None => bundle.digest().to_owned(),
        Some(limit) => {
            blake3::hash(format!("{}:max_tokens={limit}", bundle.digest()).as_bytes()).to_hex().to_string()
        }
    }
}
