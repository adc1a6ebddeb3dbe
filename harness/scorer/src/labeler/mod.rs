//! (query, document) -> a grade with its distribution: what labels pairs, natively and in the browser.
//!
//! A labeler is a bundle with a `labeler.json`. [`EncoderLabeler`] puts an ordinal head over an encoder's similarity and
//! lexical features: it costs little more than encoding the two texts, and it is what the embedded bundle does.

mod features;
mod head;
mod similarity_labeler;

pub use features::Feature;
pub use head::{HeadFile, LevelFile, OrdinalHead, ScaleFile};
pub use similarity_labeler::{EncoderLabeler, Evidence};

use relevance::{Grade, Scale};

use crate::bundle::Bundle;
use crate::encoder::EncoderOptions;
use crate::error::Result;

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

/// Grades pairs.
pub trait Labeler: Send + Sync {
    /// The scale of the grades.
    fn scale(&self) -> &Scale;

    /// Hexadecimal digest of everything that decides a label.
    fn digest(&self) -> &str;

    /// One label a pair, in order. A label does not depend on the pairs beside it.
    ///
    /// # Errors
    /// Only if the tokenizer or the tensor library fails.
    fn label(&self, pairs: &[Pair<'_>]) -> Result<Vec<Label>>;
}

/// The labeler of a bundle.
///
/// # Errors
/// `MissingFile` when the bundle has no `labeler.json` (it is an encoder only); whatever else is wrong with it, by file
/// and key.
pub fn load_labeler(bundle: &Bundle, options: &EncoderOptions) -> Result<Box<dyn Labeler>> {
    Ok(Box::new(EncoderLabeler::from_bundle(bundle, options)?))
}
