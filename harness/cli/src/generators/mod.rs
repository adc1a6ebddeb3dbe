//! Who writes texts and gives grades: the offline generator, a transcript of what a model answered before, or a live
//! model; and the journal on disk.

mod journal;
mod judge;
mod live;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use synthesis::asking::Usage;
use synthesis::journal::{Answers, Journaled, Memory, Recorded};
use synthesis::offline::Offline;
use synthesis::{Generator, Request};

pub use journal::Journal;
pub use judge::{JudgeFile, usage_json, usage_table};
use live::{Live, LiveFile};

use crate::arguments::Options;
use crate::{cache, progress};

/// A transcript is read whole.
const MOST_TRANSCRIPT_BYTES: u64 = 4 << 30;

/// `[generator]` of a recipe.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct GeneratorFile {
    /// Who writes.
    pub kind: Kind,
    /// With `transcript`: the file, a journal of an earlier run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transcript: Option<PathBuf>,
    /// Where answers are remembered, so that a run that was stopped asks nothing twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journal: Option<PathBuf>,
    /// With `live`: which server, which model, what it may cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<LiveFile>,
}

/// Who writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The generator that needs no model.
    #[default]
    Offline,
    /// Answers that were recorded.
    Transcript,
    /// A model behind an OpenAI-compatible server.
    Live,
}

impl GeneratorFile {
    /// The generator. The offline one knows these queries and documents.
    ///
    /// # Errors
    /// When there is no transcript, nothing for the offline generator to know, or a live model's settings cannot be.
    pub fn open<'a>(
        &self,
        queries: impl IntoIterator<Item = &'a str>,
        documents: impl IntoIterator<Item = &'a str>,
    ) -> anyhow::Result<Box<dyn Generator>> {
        match (self.kind, &self.transcript, &self.live) {
            (Kind::Offline, ..) => Ok(Box::new(Offline::new(queries, documents)?)),
            (Kind::Transcript, None, _) => {
                Err(crate::exit::Usage::error("generator.transcript: expected the file of a transcript"))
            }
            (Kind::Transcript, Some(path), _) => {
                let mut answers = Answers::default();
                answers.read(&cache::read_whole(path, MOST_TRANSCRIPT_BYTES)?);
                Ok(Box::new(Recorded::new(answers).with_context(|| path.display().to_string())?))
            }
            (Kind::Live, _, None) => {
                Err(crate::exit::Usage::error("generator.live: expected a table with base_url and model"))
            }
            (Kind::Live, ..) if self.journal.is_none() => Err(crate::exit::Usage::error(
                "generator.journal: expected a file: what a live model answers has its price and is remembered",
            )),
            (Kind::Live, _, Some(live)) => Ok(Box::new(Live::open(live)?)),
        }
    }

    /// The generator behind its journal, where it has one.
    ///
    /// # Errors
    /// As [`GeneratorFile::open`], or when the journal cannot be opened.
    pub fn open_remembering<'a>(
        &self,
        queries: impl IntoIterator<Item = &'a str>,
        documents: impl IntoIterator<Item = &'a str>,
        options: &Options,
    ) -> anyhow::Result<Box<dyn Generator>> {
        let generator = self.open(queries, documents)?;
        let Some(path) = &self.journal else { return Ok(generator) };
        let journal = Journal::open(path)?;
        let (answers, damaged) = journal.counts();
        let shown = path.display();
        progress::say(options, format!("{shown}: {answers} answers, {damaged} lines that are none"));
        Ok(Box::new(Remembering { generator, journal, recalled: AtomicU64::new(0) }))
    }
}

/// A generator with its journal.
struct Remembering {
    generator: Box<dyn Generator>,
    journal: Journal,
    recalled: AtomicU64,
}

impl Generator for Remembering {
    fn model(&self) -> &str {
        self.generator.model()
    }

    fn revision(&self) -> &str {
        self.generator.revision()
    }

    fn generate(&self, request: &Request) -> synthesis::Result<Vec<String>> {
        if let Some(completions) = self.journal.recall(&request.key(self.generator.as_ref())?)? {
            self.recalled.fetch_add(1, Ordering::Relaxed);
            return Ok(completions);
        }
        Journaled::new(self.generator.as_ref(), &self.journal).generate(request)
    }

    fn concurrency(&self) -> usize {
        self.generator.concurrency()
    }

    fn usage(&self) -> Option<Usage> {
        Some(Usage { recalled: self.recalled.load(Ordering::Relaxed), ..self.generator.usage()? })
    }
}
