//! Which column of a file of pairs means what, where the names do not say it: flags of the commands that read pairs, and
//! `data.columns` of recipes.

use std::path::Path;

use clap::Args;
use datasets::pairs::PairOptions;
use serde::{Deserialize, Serialize};

/// Columns by name; those without one are guessed and reported.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct PairColumns {
    /// The column of the query's id [default: guessed and reported]
    #[arg(long, value_name = "COL", requires = "pairs")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// The column of the document's id [default: guessed and reported]
    #[arg(long, value_name = "COL", requires = "pairs")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// The column of the query's text [default: guessed and reported]
    #[arg(long, value_name = "COL", requires = "pairs")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_text: Option<String>,
    /// The column of the document's text [default: guessed and reported]
    #[arg(long, value_name = "COL", requires = "pairs")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document_text: Option<String>,
    /// The column of the human grade [default: guessed and reported]
    #[arg(long, value_name = "COL", requires = "pairs")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub human: Option<String>,
}

impl PairColumns {
    /// Whether every column is left to be guessed.
    pub fn are_guessed(&self) -> bool {
        *self == Self::default()
    }

    /// How a file with these columns is read.
    pub fn options(&self, memory_bytes: u64) -> PairOptions {
        let Self { query, document, query_text, document_text, human } = self.clone();
        PairOptions {
            query,
            document,
            query_text,
            document_text,
            human,
            memory_bytes,
            ..PairOptions::default()
        }
    }

    /// How `file` is read where these are the columns of `own`: any other file's are guessed.
    pub fn options_of(&self, file: &Path, own: Option<&Path>, memory_bytes: u64) -> PairOptions {
        if own == Some(file) { self.options(memory_bytes) } else { Self::default().options(memory_bytes) }
    }
}
