//! A set of graded pairs in the making: `pairs.jsonl` and a BEIR folder that `graded train` reads, with their quality.

use relevance::Scale;
use rustc_hash::FxHashSet;
use serde::Serialize;
use synthesis::quality::{GradedPair, Quality, QualityCheck, TestSet};

use crate::new_folder::{self, BeirFiles, NewFile, NewFolder};

/// The files in the making.
pub struct GradedSet {
    prefix: String,
    pairs: NewFile,
    beir: BeirFiles,
    judgments: NewFile,
    documents: FxHashSet<String>,
    queries: FxHashSet<String>,
    check: QualityCheck,
}

impl GradedSet {
    /// Begins a set under `prefix` (empty, or a folder's name with its slash).
    ///
    /// # Errors
    /// When a file cannot be made.
    pub fn begin(folder: &NewFolder, prefix: &str, test: Option<TestSet>) -> anyhow::Result<Self> {
        Ok(Self {
            prefix: prefix.to_owned(),
            pairs: folder.file(&format!("{prefix}pairs.jsonl"))?,
            beir: BeirFiles::begin_in(folder, prefix)?,
            judgments: new_folder::judgments_in(folder, prefix, "train")?,
            documents: FxHashSet::default(),
            queries: FxHashSet::default(),
            check: QualityCheck::new(test),
        })
    }

    /// Appends a pair.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn pair(&mut self, pair: &GradedPair) -> anyhow::Result<()> {
        self.pair_as(pair, pair)
    }

    /// Appends a pair whose line says more.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn pair_as(&mut self, pair: &GradedPair, line: &impl Serialize) -> anyhow::Result<()> {
        self.pairs.line(line)?;
        new_folder::judge(&mut self.judgments, &pair.query_id, &pair.doc_id, pair.grade)?;
        if self.queries.insert(pair.query_id.clone()) {
            self.beir.query(&pair.query_id, &pair.query)?;
        }
        if self.documents.insert(pair.doc_id.clone()) {
            self.beir.document(&pair.doc_id, "", &pair.document)?;
        }
        self.check.push(pair);
        Ok(())
    }

    /// Ends the files and says what the set is worth.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn finish(
        self,
        folder: &NewFolder,
        name: &str,
        description: &str,
        scale: &Scale,
    ) -> anyhow::Result<Quality> {
        self.pairs.finish()?;
        self.judgments.finish()?;
        self.beir.finish()?;
        let manifest = new_folder::manifest(name, description, scale, &["train"])?;
        folder.write(&format!("{}manifest.toml", self.prefix), &manifest)?;
        Ok(self.check.report())
    }
}
