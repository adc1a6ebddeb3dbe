//! A collection as values: documents, queries, judgments, and what its home says about them.

use std::path::PathBuf;

use relevance::{Judgments, Scale, SelfHits};
use serde::{Deserialize, Serialize};

use crate::ratings::Ratings;

/// One document. `id` is unique in its collection (`check` reports it when not).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// The document's id, as judgments and runs write it.
    pub id: String,
    /// Its title; empty where the collection has none.
    pub title: String,
    /// Its text, without the title.
    pub text: String,
    /// Everything else the collection says about it, as written; `None` when there is nothing.
    pub metadata: Option<Box<serde_json::Map<String, serde_json::Value>>>,
}

impl Document {
    /// Title and text joined by a blank, as BEIR's baselines join them; the text alone when there is no title.
    pub fn full_text(&self) -> String {
        match (self.title.is_empty(), self.text.is_empty()) {
            (true, _) => self.text.clone(),
            (_, true) => self.title.clone(),
            _ => format!("{} {}", self.title, self.text),
        }
    }

    /// The bytes its strings hold, counted against a memory budget (metadata is counted by its reader).
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn bytes(&self) -> u64 {
        (std::mem::size_of::<Self>() + self.id.len() + self.title.len() + self.text.len()) as u64
    }
}

/// One query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// The query's id, as judgments and runs write it.
    pub id: String,
    /// What the person typed.
    pub text: String,
}

/// The layout a collection's files have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Format {
    /// `corpus.jsonl`, `queries.jsonl`, `qrels/*.tsv`.
    Beir,
    /// TREC judgments, topics and documents with markup.
    Trec,
    /// SMART's `.I .T .A .B .W` sections (Cranfield).
    Smart,
    /// Chorus' zipped product files and rating tables.
    Chorus,
    /// Quati's annotation tables, one a rater.
    Quati,
    /// One JSON object a line: a judged pair with both texts and recorded teachers' grades.
    RecordedPairs,
    /// What people did over time. There is nothing to evaluate, so nothing opens it as a collection.
    Log,
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Beir => "beir",
            Self::Trec => "trec",
            Self::Smart => "smart",
            Self::Chorus => "chorus",
            Self::Quati => "quati",
            Self::RecordedPairs => "recorded-pairs",
            Self::Log => "log",
        })
    }
}

/// A collection, read and in memory.
#[derive(Clone, Debug)]
pub struct Collection {
    /// The manifest's name, or the directory's.
    pub name: String,
    /// The file or directory it was read from; `None` for the embedded sample.
    pub path: Option<PathBuf>,
    /// The layout it was read in.
    pub format: Format,
    /// The documents, in file order.
    pub documents: Vec<Document>,
    /// The queries, in file order, judged or not.
    pub queries: Vec<Query>,
    /// The judgments of [`split`](Self::split), grades already mapped to [`scale`](Self::scale).
    pub judgments: Judgments,
    /// What the grades mean.
    pub scale: Scale,
    /// Whether a manifest states the scale. When not, it is only the grades that were seen.
    pub scale_is_stated: bool,
    /// What to do with hits on the query itself. Printed with every result.
    pub self_hits: SelfHits,
    /// The split the judgments come from, where the collection has splits.
    pub split: Option<String>,
    /// All splits there are.
    pub splits: Vec<String>,
    /// Several raters' grades for the same pairs, where the collection has them.
    pub ratings: Option<Ratings>,
    /// What a reader of results should know: which manifest was recognised, which grades were mapped, what was
    /// guessed. One sentence each.
    pub notes: Vec<String>,
}

impl Collection {
    /// Refuses a request for a split the collection does not have: the embedded sample has `test` alone.
    ///
    /// # Errors
    /// [`Error::UnknownSplit`](crate::Error::UnknownSplit), naming those there are.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn require_split(&self, wanted: &str) -> crate::Result<()> {
        let path = self.path.clone().unwrap_or_else(|| PathBuf::from(&self.name));
        crate::open::require_split(&path, wanted, &self.splits)
    }

    /// The queries that have judgments, in file order.
    pub fn judged_queries(&self) -> impl Iterator<Item = &Query> {
        self.queries.iter().filter(|query| self.judgments.get(&query.id).is_some())
    }
}
