//! Who writes texts and gives grades: the offline generator, a transcript of what a model answered before, a live model, or
//! one in this process; and the journal on disk.

mod journal;
mod judge;
mod live;
#[cfg(feature = "local")]
mod local;
#[cfg(not(feature = "local"))]
#[allow(dead_code, reason = "a recipe is read and checked all the same; only running it needs the rest")]
#[path = "local/settings.rs"]
mod local_settings;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use synthesis::asking::Usage;
use synthesis::journal::{Answers, Journaled, Memory, Recorded};
use synthesis::offline::Offline;
use synthesis::{Generator, Request};

use journal::Journal;
pub use judge::{JudgeFile, ModelUse, usage_json, usage_table};
use live::{Live, LiveFile};
#[cfg(feature = "local")]
use local::{Local, LocalFile};
#[cfg(not(feature = "local"))]
use local_settings::LocalFile;

use crate::arguments::Options;
use crate::{cache, exit, progress};

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
    /// With `local`: which files, what it may use up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalFile>,
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
    /// A model in this process.
    Local,
}

impl GeneratorFile {
    /// The generator, behind its journal where it has one. `offline` makes the one that needs no model, which knows queries
    /// and documents.
    ///
    /// # Errors
    /// When there is no transcript, nothing for the offline generator to know, a model's settings cannot be or it cannot be
    /// loaded, or the journal cannot be opened.
    pub fn open(
        &self,
        offline: impl FnOnce() -> synthesis::Result<Offline>,
        options: &Options,
    ) -> anyhow::Result<Box<dyn Generator>> {
        let generator = self.without_journal(offline, options)?;
        let Some(path) = &self.journal else { return Ok(generator) };
        let journal = Journal::open(path)?;
        let (answers, damaged) = journal.counts();
        let shown = path.display();
        progress::say(options, format!("{shown}: {answers} answers, {damaged} lines that are none"));
        Ok(Box::new(Remembering { generator, journal, recalled: AtomicU64::new(0) }))
    }

    fn without_journal(
        &self,
        offline: impl FnOnce() -> synthesis::Result<Offline>,
        options: &Options,
    ) -> anyhow::Result<Box<dyn Generator>> {
        let expected =
            |key: &str, what: &str| exit::Usage::error(format!("generator.{key}: expected {what}"));
        if matches!(self.kind, Kind::Live | Kind::Local) && self.journal.is_none() {
            let what = "a file: what a model answers has its price in money or time, and is remembered";
            return Err(expected("journal", what));
        }
        match self.kind {
            Kind::Offline => Ok(Box::new(offline()?)),
            Kind::Transcript => {
                let path = self.transcript.as_ref();
                let path = path.ok_or_else(|| expected("transcript", "the file of a transcript"))?;
                let mut answers = Answers::default();
                answers.read(&cache::read_whole(path, MOST_TRANSCRIPT_BYTES)?);
                Ok(Box::new(Recorded::new(answers).with_context(|| path.display().to_string())?))
            }
            Kind::Live => {
                let live = self.live.as_ref();
                Ok(Box::new(Live::open(
                    live.ok_or_else(|| expected("live", "a table with base_url and model"))?,
                )?))
            }
            Kind::Local => {
                let local = self.local.as_ref();
                open_local(local.ok_or_else(|| expected("local", "a table with model"))?, options)
            }
        }
    }
}

#[cfg(feature = "local")]
fn open_local(file: &LocalFile, options: &Options) -> anyhow::Result<Box<dyn Generator>> {
    Ok(Box::new(Local::open(file, options)?))
}

#[cfg(not(feature = "local"))]
fn open_local(file: &LocalFile, _: &Options) -> anyhow::Result<Box<dyn Generator>> {
    file.check()?;
    Err(exit::Usage::error("generator.kind: this binary was built without the feature `local`"))
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
