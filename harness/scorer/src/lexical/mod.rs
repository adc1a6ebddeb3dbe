//! Lexical scoring: texts become terms ([`Analyzer`]), documents an inverted index, and BM25 ranks them.
//!
//! The index takes one text a document. A document with several fields is one text, its fields joined by a blank
//! (`title` + `" "` + `text`), as Anserini's `contents` field does for BEIR.

mod analyzer;
mod bm25;
mod call;
mod porter;
mod search;

pub use analyzer::{Analyzer, Stemmer, StopWords};
pub use bm25::{Bm25Index, Bm25Parameters, DocumentLength, TermStatistics, TermWeight};
pub use search::Scored;

/// What can be wrong with a written analyzer, with written BM25 settings, or with the documents of an index.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LexicalError {
    /// Not of the form `name(key=value, ...)`.
    #[error("`{written}`: expected `name` or `name(key=value, ...)`")]
    Malformed {
        /// What was written.
        written: String,
    },
    /// No analyzer has this name.
    #[error("unknown analyzer `{name}`: expected english, multilingual, simple or whitespace")]
    UnknownAnalyzer {
        /// The name.
        name: String,
    },
    /// BM25 settings that do not begin with `bm25`.
    #[error("unknown lexical scorer `{name}`: expected bm25")]
    UnknownScorer {
        /// The name.
        name: String,
    },
    /// A setting where none is taken.
    #[error("`{name}` takes no settings, found `{key}`")]
    NoSettings {
        /// Whose settings.
        name: String,
        /// The setting.
        key: String,
    },
    /// A setting nobody knows.
    #[error("`{name}` has no setting `{key}`: expected one of {known}")]
    UnknownSetting {
        /// Whose settings.
        name: String,
        /// The setting.
        key: String,
        /// The settings there are.
        known: &'static str,
    },
    /// A setting with a value it cannot have.
    #[error("`{name}`: {key}={value}, expected {expected}")]
    BadValue {
        /// Whose settings.
        name: String,
        /// The setting.
        key: String,
        /// Its value.
        value: String,
        /// What it can be.
        expected: &'static str,
    },
    /// More than an index can number.
    #[error("{count} {what}: an index numbers at most {limit}")]
    TooMany {
        /// Documents or postings.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there can be.
        limit: usize,
    },
}
