//! What SyCL, SSRA and the SLM labeler start from: a collection with some grades, part of whose queries may be held out;
//! and who writes texts for it.

use clap::Args;
use datasets::Collection;
use relevance::{Grade, QueryJudgments};
use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};
use synthesis::generator::Generator;
use synthesis::journal::Journaled;
use synthesis::normal_form;
use synthesis::offline::Offline;
use synthesis::quality::TestSet;

use super::quality;
use crate::arguments::Options;
use crate::collections;
use crate::exit::Usage;
use crate::generators::{GeneratorFile, Journal, Kind};
use crate::new_folder::{self, BeirFiles, NewFolder};
use crate::progress;
use crate::recipe::training::HeldOut;
use crate::training::data::hold_out;

/// Flags of every command that starts from a collection; they are laid over the recipe.
#[derive(Debug, Args)]
pub struct SeedFlags {
    /// The collection with documents, queries and grades: a name or a folder
    #[arg(long, value_name = "NAME|DIR")]
    dataset: Option<String>,
    /// The split whose grades are used
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
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

impl SeedFile {
    /// The same with the flags laid over it.
    pub fn with(self, flags: &SeedFlags) -> Self {
        let dataset = flags.dataset.clone().or(self.dataset);
        Self { dataset, split: flags.split.clone().or(self.split), ..self }
    }
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

/// Who writes texts, with its journal.
pub struct Writer {
    generator: Box<dyn Generator>,
    journal: Option<Journal>,
}

impl Writer {
    /// The recipe's generator. The offline one knows these queries and these documents, and can compose passages where
    /// that is asked for.
    ///
    /// # Errors
    /// As [`GeneratorFile::open`], or when the journal cannot be opened.
    pub fn open<'a>(
        file: &GeneratorFile,
        queries: impl IntoIterator<Item = &'a str>,
        documents: &'a [String],
        passages: bool,
        options: &Options,
    ) -> anyhow::Result<Self> {
        let texts = || documents.iter().map(String::as_str);
        let generator: Box<dyn Generator> = match file.kind {
            Kind::Offline if passages => Box::new(Offline::new(queries, texts())?.with_passages(texts())),
            _ => file.open(queries, texts())?,
        };
        let journal = file.journal.as_deref().map(Journal::open).transpose()?;
        if let (Some(path), Some(journal)) = (&file.journal, &journal) {
            let (answers, damaged) = journal.counts();
            let shown = path.display();
            progress::say(options, format!("{shown}: {answers} answers, {damaged} lines that are none"));
        }
        Ok(Self { generator, journal })
    }

    /// Which model writes, and which version of it.
    pub fn named(&self) -> (String, String) {
        (self.generator.model().to_owned(), self.generator.revision().to_owned())
    }

    /// Does some work with the generator, every answer remembered.
    pub fn with<T>(&self, work: impl FnOnce(&dyn Generator) -> T) -> T {
        match &self.journal {
            Some(journal) => work(&Journaled::new(self.generator.as_ref(), journal)),
            None => work(self.generator.as_ref()),
        }
    }
}
