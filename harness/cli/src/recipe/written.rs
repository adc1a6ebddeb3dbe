//! A recipe as written.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cache;
use crate::exit::Usage;
use crate::pair_columns::PairColumns;

/// A recipe is a page, not a data file.
const MOST_BYTES: u64 = 1 << 20;

/// A recipe file: every key optional, unknown keys refused.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecipeFile {
    /// What the recipe is meant to show.
    pub claim: Claim,
    /// What is evaluated on.
    pub data: Data,
    /// What is evaluated.
    pub scorer: Scorer,
    /// How it is measured.
    pub evaluation: Evaluation,
}

/// `[claim]`: for the reader.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Claim {
    /// One line: what the recipe shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Paper, table or figure it follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What cannot be concluded from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<String>,
    /// What it costs to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<String>,
}

/// `[data]`: a collection, or judgments with run files, or labelled pairs.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Data {
    /// A collection's name or folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// The split of the collection whose judgments count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// A judgment file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qrels: Option<PathBuf>,
    /// Run files, each a system.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<PathBuf>,
    /// A file of labelled pairs: each query ranks its own judged documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pairs: Option<PathBuf>,
    /// Which of its columns mean what, where their names do not say it.
    #[serde(skip_serializing_if = "PairColumns::are_guessed")]
    pub columns: PairColumns,
}

/// `[scorer]`: the systems.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scorer {
    /// `bm25`, `bm25(k1=..., b=...)`, `embedded`, a pulled model's name, or a bundle's path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub systems: Option<Vec<String>>,
    /// Fusions of all systems above, each a further system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuse: Option<Vec<String>>,
    /// How many documents each system returns a query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
    /// Rank only the documents judged for each query, as a re-ranker would. Labelled pairs: the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judged_candidates: Option<bool>,
}

/// `[evaluation]`: the measures and their rules.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Evaluation {
    /// The measures, in the order they are printed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measures: Option<Vec<String>>,
    /// `trec`, `run`, `docid-asc` or `expected`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ties: Option<String>,
    /// Average over the queries of both judgments and run only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intersect: Option<bool>,
    /// `keep` or `drop` documents whose id is the query's; absent: the collection's own setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub self_hits: Option<String>,
    /// The system the others are compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
}

impl RecipeFile {
    /// Reads a recipe file.
    ///
    /// # Errors
    /// When the file cannot be read or is not a recipe; names file, line and what was expected.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        read(path)
    }

    /// Parses the text of a recipe file.
    ///
    /// # Errors
    /// When the text is not a recipe; names the line and what was expected.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        parse(text)
    }
}

/// Reads a file of TOML as whatever kind of recipe it is.
///
/// # Errors
/// When the file cannot be read or is not such a recipe; names file, line and what was expected.
pub fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    parse(&read_text(path)?).with_context(|| path.display().to_string())
}

/// The text of a recipe file.
///
/// # Errors
/// When the file cannot be read or is no text.
pub fn read_text(path: &Path) -> anyhow::Result<String> {
    let text = cache::read_whole(path, MOST_BYTES)?;
    String::from_utf8(text).map_err(|_| Usage::error(format!("{}: expected UTF-8 text", path.display())))
}

/// Parses the text of a recipe.
///
/// # Errors
/// When the text is not such a recipe; names the line and what was expected.
pub fn parse<T: DeserializeOwned>(text: &str) -> anyhow::Result<T> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let before = error.span().map_or("", |span| &text[..span.start.min(text.len())]);
        let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
        Usage::error(format!("line {line}: {}", error.message().replace('\n', " ")))
    })
}
