//! (query, document) -> a grade with its distribution: what labels pairs, natively and in the browser.
//!
//! A labeler is a bundle with a `labeler.json`. [`EncoderLabeler`] puts an ordinal head over an encoder's similarity and
//! lexical features: it costs little more than encoding the two texts, and it is what the embedded bundle does.
//! [`CrossEncoder`] reads both texts together; the file says so by `"kind": "cross_encoder"`.

mod cross_encoder;
mod cuts;
mod features;
pub(crate) mod grade_head;
mod head;
mod similarity_labeler;

pub use cross_encoder::{CrossEncoder, CrossEncoderFile, KIND as CROSS_ENCODER};
pub use cuts::Cuts;
pub use features::Feature;
pub use grade_head::HeadKind;
pub use head::{HeadFile, LevelFile, OrdinalHead, ScaleFile};
pub use similarity_labeler::EncoderLabeler;

use relevance::{Grade, Scale};
use serde::Deserialize;

use crate::bundle::{Bundle, LABELER};
use crate::encoder::EncoderOptions;
use crate::error::{Result, ScorerError};

/// A query and a document as plain texts; a document's title is joined to its text by [`crate::join_title`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair<'a> {
    /// What somebody searches for.
    pub query: &'a str,
    /// What was found.
    pub document: &'a str,
}

/// What a labeler says of a pair.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Label {
    /// The grade, one of the labeler's scale.
    pub grade: Grade,
    /// How relevant, on the labeler's own axis: higher is more relevant, also within a grade.
    pub score: f64,
    /// The probability of each level of the scale, lowest grade first; sums to 1.
    pub distribution: Vec<f64>,
}

/// Why a pair got its label.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Evidence {
    /// The label.
    pub label: Label,
    /// Each feature by name, its value and what it adds to the score; empty for a labeler without features.
    pub features: Vec<(&'static str, f64, f64)>,
    /// For each token of the query the nearest of the document and their cosine; empty without token vectors.
    pub tokens: Vec<(String, Option<String>, f64)>,
}

/// Grades pairs.
pub trait Labeler: Send + Sync {
    /// The scale of the grades, and where each begins on the score's axis.
    fn cuts(&self) -> &Cuts;

    /// The scale of the grades.
    fn scale(&self) -> &Scale {
        self.cuts().scale()
    }

    /// Hexadecimal digest of everything that decides a label.
    fn digest(&self) -> &str;

    /// One label a pair, in order. A label does not depend on the pairs beside it.
    ///
    /// # Errors
    /// Only if the tokenizer fails.
    fn label(&self, pairs: &[Pair<'_>]) -> Result<Vec<Label>>;

    /// The label of one pair and what it rests on, as far as the labeler can say.
    ///
    /// # Errors
    /// Those of [`Labeler::label`].
    fn explain(&self, pair: Pair<'_>) -> Result<Evidence>;
}

/// The probability of the level at `position` of the scale or one above it, from a [`Label::distribution`].
pub fn at_least(distribution: &[f64], position: usize) -> f64 {
    distribution.iter().skip(position).sum()
}

/// Whether the labeler of a bundle is a cross-encoder.
///
/// # Errors
/// `BadConfig` when `labeler.json` is no JSON object, `Unsupported` for a kind that is not known here.
pub fn is_cross_encoder(bundle: &Bundle) -> Result<bool> {
    #[derive(Deserialize, Default)]
    struct Peek {
        kind: Option<String>,
    }
    match bundle.json::<Peek>(LABELER)?.unwrap_or_default().kind.as_deref() {
        None => Ok(false),
        Some(CROSS_ENCODER) => Ok(true),
        Some(other) => {
            Err(ScorerError::Unsupported { file: LABELER.into(), what: format!("kind {other:?}") })
        }
    }
}

/// The digest of a run of scores: hexadecimal blake3 over their bits as little-endian `u64`, in order. Two machines that
/// print the same digest computed the same bits.
pub fn scores_digest(scores: impl IntoIterator<Item = f64>) -> String {
    let mut hasher = blake3::Hasher::new();
    for score in scores {
        hasher.update(&score.to_bits().to_le_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// The labeler of a bundle.
///
/// # Errors
/// `NoHead` when the bundle has no `labeler.json` (it is an encoder only); whatever else is wrong with it, by file
/// and key.
pub fn load_labeler(bundle: &Bundle, options: &EncoderOptions) -> Result<Box<dyn Labeler>> {
    Ok(match is_cross_encoder(bundle)? {
        true => Box::new(CrossEncoder::from_bundle(bundle, options)?),
        false => Box::new(EncoderLabeler::from_bundle(bundle, options)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_of_the_bits_in_order() {
        let bytes = [1.5_f64, -0.0].map(|score| score.to_bits().to_le_bytes()).concat();
        assert_eq!(scores_digest([1.5, -0.0]), blake3::hash(&bytes).to_hex().as_str());
        assert_ne!(scores_digest([1.5, -0.0]), scores_digest([1.5, 0.0]));
        assert_ne!(scores_digest([1.5, -0.0]), scores_digest([-0.0, 1.5]));
    }
}
