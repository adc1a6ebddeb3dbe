//! The one error type of this crate: each variant names the file, tensor or number that is at fault.

/// What can be wrong with a bundle, or go wrong while texts are encoded.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ScorerError {
    /// A file that this kind of model needs is not in the bundle.
    #[error("bundle: the file {file} is missing")]
    MissingFile {
        /// Name inside the bundle.
        file: String,
    },
    /// A bundle that is an encoder alone was to grade.
    #[error(
        "bundle: labeler.json is missing: an encoder, which grades nothing; `graded model calibrate` makes a labeler of it"
    )]
    NoHead,
    /// A JSON file could not be read, or holds a value outside what the model allows.
    #[error("{file}: {reason}")]
    BadConfig {
        /// Name inside the bundle.
        file: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// A configuration asks for something this crate does not compute (another architecture, an extra layer).
    #[error("{file}: {what} is not supported")]
    Unsupported {
        /// Name inside the bundle.
        file: String,
        /// The feature asked for.
        what: String,
    },
    /// The weights file itself is damaged: header, offsets or total length.
    #[error("{file}: {reason}")]
    BadWeights {
        /// Name inside the bundle.
        file: String,
        /// What was found.
        reason: String,
    },
    /// A tensor that the configuration calls for is not in the weights file.
    #[error("{file}: the tensor {tensor} is missing")]
    MissingTensor {
        /// Name inside the bundle.
        file: String,
        /// Full tensor name.
        tensor: String,
    },
    /// A tensor has another shape or element type than the configuration calls for, or a value that is not finite.
    #[error("{file}: tensor {tensor}: {reason}")]
    BadTensor {
        /// Name inside the bundle.
        file: String,
        /// Full tensor name.
        tensor: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// A one-file bundle is truncated, altered, of an unknown version, or lies about its lengths.
    #[error("bundle: {reason}")]
    BadContainer {
        /// What was found and what was expected.
        reason: String,
    },
    /// The tokenizer file could not be loaded, or refused a text.
    #[error("{file}: {reason}")]
    Tokenizer {
        /// Name inside the bundle.
        file: String,
        /// The tokenizer's own words.
        reason: String,
    },
    /// An argument is outside its range (a dimension of zero, a batch of zero tokens, an empty vocabulary).
    #[error("{0}")]
    BadArgument(String),
    /// The tensor library under the language models failed; the text is its own.
    #[error("tensor computation failed: {0}")]
    Compute(String),
}

#[cfg(feature = "language-model")]
impl From<candle_core::Error> for ScorerError {
    fn from(error: candle_core::Error) -> Self {
        ScorerError::Compute(error.to_string())
    }
}

/// The result of every fallible function of the encoders and bundles.
pub type Result<T> = std::result::Result<T, ScorerError>;
