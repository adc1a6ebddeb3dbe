//! What SyCL, SSRA and the SLM labeler start from, a collection with some grades, part of whose queries may be held out; and
//! what the three have alike: flags, the beginning and the end.

use std::path::PathBuf;

use clap::Args;
use datasets::Collection;
use relevance::{Grade, QueryJudgments};
use rustc_hash::{FxHashMap, FxHashSet};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use synthesis::normal_form;
use synthesis::offline::Offline;
use synthesis::quality::TestSet;

use super::quality;
use crate::arguments::Options;
use crate::collections;
use crate::exit::Usage;
use crate::new_folder::{self, BeirFiles, NewFolder};
use crate::recipe;
use crate::recipe::training::HeldOut;
use crate::training::data::hold_out;

/// Flags of a command that starts from a collection. Those that a recipe has too are laid over it.
#[derive(Debug, Args)]
pub struct Command {
    /// The recipe
    recipe: PathBuf,
    /// The new folder to write: the pairs as JSON lines and as BEIR folders, and test/ where queries are held out
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The collection with documents, queries and grades: a name or a folder
    #[arg(long, value_name = "NAME|DIR")]
    dataset: Option<String>,
    /// The split whose grades are used
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
}

/// A recipe with a table `[seed]`.
pub trait FromSeed: DeserializeOwned + Serialize {
    /// The table.
    fn seed(&mut self) -> &mut SeedFile;

    /// Whether the other tables can be.
    ///
    /// # Errors
    /// The first parameter that cannot.
    fn check(&self) -> synthesis::Result<()>;
}

/// What every such command begins with and ends with.
pub struct Making<F> {
    /// The recipe with the flags laid over it.
    pub file: F,
    /// The folder in the making.
    pub folder: NewFolder,
    /// The collection.
    pub seed: Seed,
}

impl<F: FromSeed> Making<F> {
    /// Reads the recipe, begins the folder and opens the collection.
    ///
    /// # Errors
    /// When one of these cannot be.
    pub fn begin(command: &Command, options: &Options) -> anyhow::Result<Self> {
        let mut file: F = recipe::read(&command.recipe)?;
        let seed = file.seed();
        seed.dataset = command.dataset.clone().or(seed.dataset.take());
        seed.split = command.split.clone().or(seed.split.take());
        file.check()?;
        let folder = NewFolder::begin(&command.out)?;
        let seed = Seed::open(file.seed(), options)?;
        Ok(Self { file, folder, seed })
    }

    /// Writes the held-out queries, the recipe and the summary, and lets the folder appear.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn finish(self, summary: &Value) -> anyhow::Result<()> {
        self.seed.write_test(&self.folder)?;
        self.folder.write("recipe.toml", &toml::to_string(&self.file)?)?;
        self.folder.write("summary.json", &(serde_json::to_string_pretty(summary)? + "\n"))?;
        self.folder.finish()
    }
}

/// `[seed]`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SeedFile {
    /// A collection's name or folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    dataset: Option<String>,
    /// The split whose grades are used.
    #[serde(skip_serializing_if = "Option::is_none")]
    split: Option<String>,
    /// Queries that nothing is made from: they are written out as a test collection.
    #[serde(skip_serializing_if = "Option::is_none")]
    held_out: Option<HeldOut>,
}

/// A judged pair with its texts: positions in [`Seed::queries`] and among the documents.
#[derive(Clone, Copy, Debug)]
pub struct JudgedPair {
    pub query: usize,
    pub document: usize,
    pub grade: Grade,
}

/// The collection that data are made from.
pub struct Seed {
    /// Documents, and the grades that may be used.
    pub collection: Collection,
    /// The held-out queries' grades, with the same documents.
    pub held_out: Option<Collection>,
    /// Each document's full text, in the collection's order.
    pub texts: Vec<String>,
    /// Judged queries as `(id, text)`, in the collection's order.
    pub queries: Vec<(String, String)>,
    /// The judged pairs whose documents are there, query by query.
    pub judged: Vec<JudgedPair>,
}

impl Seed {
    /// Opens the collection.
    ///
    /// # Errors
    /// When none is named, it cannot be opened, its grades are not from 0 to 3, or nothing is left to learn from.
    pub fn open(file: &SeedFile, options: &Options) -> anyhow::Result<Self> {
        let Some(name) = &file.dataset else {
            return Err(Usage::error("seed.dataset (--dataset): expected a collection with grades"));
        };
        let mut collection = collections::open(name, file.split.as_deref(), options.memory)?;
        let scale = &collection.scale;
        if scale.levels().iter().any(|level| !(0..=3).contains(&level.grade)) {
            let found = format!("{}: grades up to {}", scale.name(), scale.highest());
            return Err(Usage::error(format!("seed.dataset: expected grades from 0 to 3, found {found}")));
        }
        let held_out = match &file.held_out {
            Some(held_out) => Some(hold_out(&mut collection, held_out, Some(name), options)?),
            None => None,
        };
        let texts = collection.documents.iter().map(|document| document.full_text()).collect();
        let places: FxHashMap<&str, usize> = collection
            .documents
            .iter()
            .enumerate()
            .map(|(at, document)| (document.id.as_str(), at))
            .collect();
        let queries: Vec<(String, String)> =
            collection.judged_queries().map(|query| (query.id.clone(), query.text.clone())).collect();
        let mut judged = Vec::new();
        for (query, (id, _)) in queries.iter().enumerate() {
            for (document, grade) in collection.judgments.get(id).into_iter().flat_map(QueryJudgments::iter) {
                if let Some(&document) = places.get(document) {
                    judged.push(JudgedPair { query, document, grade });
                }
            }
        }
        if judged.is_empty() {
            return Err(Usage::error(format!("{name}: no query has a judged document that is there")));
        }
        Ok(Self { collection, held_out, texts, queries, judged })
    }

    /// The held-out queries and grades as what must not leak.
    pub fn test_set(&self) -> Option<TestSet> {
        self.held_out.as_ref().map(quality::test_set)
    }

    /// The normal forms of the held-out queries: none may be written.
    pub fn held_out_queries(&self) -> FxHashSet<String> {
        let queries = self.held_out.iter().flat_map(Collection::judged_queries);
        queries.map(|query| normal_form(&query.text)).collect()
    }

    /// The offline generator over these queries and the collection's documents; `passages`: one that can compose passages.
    ///
    /// # Errors
    /// When there is nothing for it to know.
    pub fn offline<'q>(
        &'q self,
        queries: impl IntoIterator<Item = &'q str>,
        passages: bool,
    ) -> synthesis::Result<Offline> {
        let texts = || self.texts.iter().map(String::as_str);
        let offline = Offline::new(queries, texts())?;
        Ok(if passages { offline.with_passages(texts()) } else { offline })
    }

    /// The texts of the queries.
    pub fn query_texts(&self) -> impl Iterator<Item = &str> {
        self.queries.iter().map(|(_, text)| text.as_str())
    }

    /// Writes the held-out queries as a collection of their own, `test/`, where there are any.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_test(&self, folder: &NewFolder) -> anyhow::Result<()> {
        let Some(held_out) = &self.held_out else { return Ok(()) };
        let mut files = BeirFiles::begin_in(folder, "test/")?;
        for document in &held_out.documents {
            files.document(&document.id, &document.title, &document.text)?;
        }
        let mut judgments = new_folder::judgments_in(folder, "test/", "test")?;
        for query in held_out.judged_queries() {
            files.query(&query.id, &query.text)?;
            for (document, grade) in
                held_out.judgments.get(&query.id).into_iter().flat_map(QueryJudgments::iter)
            {
                new_folder::judge(&mut judgments, &query.id, document, grade)?;
            }
        }
        files.finish()?;
        judgments.finish()?;
        let what = format!("The held-out queries of {}, with its documents.", held_out.name);
        folder.write("test/manifest.toml", &new_folder::manifest("test", &what, &held_out.scale, &["test"])?)
    }
}
